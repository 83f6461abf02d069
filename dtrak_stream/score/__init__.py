"""Scores from stored features: kernel, blocks, rankings, file."""

from dtrak_stream.score.options import ScoreOptions
from dtrak_stream.score.run import ScoreConfig, ScoreResult, score
from dtrak_stream.score.scores_file import ScoresFile

__all__ = ["ScoreConfig", "ScoreOptions", "ScoreResult", "ScoresFile", "score"]
