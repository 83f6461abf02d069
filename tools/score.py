"""Score training samples for queries from stored features."""

from dtrak_stream.command_line import run
from dtrak_stream.score import ScoreConfig, score

if __name__ == "__main__":
    run(ScoreConfig, score)
