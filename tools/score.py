"""Score training samples for queries from stored features."""

from dtrak_stream.cli.method_list import run_or_list
from dtrak_stream.evaluation.any_method import score_by_any_method
from dtrak_stream.scoring import ScoreConfig

if __name__ == "__main__":
    run_or_list(ScoreConfig, score_by_any_method)
