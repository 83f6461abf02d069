"""Scores from stored features: kernel, blocks, rankings, file."""

from dtrak_stream.score.configuration import ScoreConfig, ScoreResult
from dtrak_stream.score.options import ScoreOptions
from dtrak_stream.score.run import score
from dtrak_stream.score.scores_file import ScoresFile

__all__ = ["ScoreConfig", "ScoreOptions", "ScoreResult", "ScoresFile", "score"]
