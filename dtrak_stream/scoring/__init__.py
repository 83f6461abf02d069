"""Scores from stored features: kernel, blocks, rankings, file."""

from dtrak_stream.scoring.options import ScoreConfig, ScoreOptions, ScoreResult
from dtrak_stream.scoring.run import score
from dtrak_stream.scoring.scores_file import ScoresFile

__all__ = ["ScoreConfig", "ScoreOptions", "ScoreResult", "ScoresFile", "score"]
