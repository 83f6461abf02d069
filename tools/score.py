"""Score training samples for queries from stored features."""

from dtrak_stream.method_list import run_or_list
from dtrak_stream.score import ScoreConfig, score

if __name__ == "__main__":
    run_or_list(ScoreConfig, score)
