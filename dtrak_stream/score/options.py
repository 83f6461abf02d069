"""How features become scores: what the user may choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ScoreOptions:
    """How features become scores."""

    method: str = "d-trak"
    """Attribution method: trak or d-trak."""
    damping: str = "auto"
    """lambda: auto (by effective degrees of freedom), a multiple of the mean eigenvalue such as \
0.1, or abs:500."""
    transform: Literal["none", "square"] = "none"
    """square: squared scores. They predict retraining better, but have no opponents."""
    top_k: int = 100
    """Length of the lists of proponents and of opponents that are kept for each query."""
    save_scores: Literal["auto", "yes", "no"] = "auto"
    """Keep the whole (queries, training samples) matrix; auto: if it fits in the memory limit."""
