"""How features become scores: what the user may choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from dtrak_stream.scoring.transforms import TransformName, transforms_in_words


@dataclass(frozen=True)
class ScoreOptions:
    """How features become scores."""

    method: str = "d-trak"
    """Attribution method, such as d-trak, trak or gradient-cosine; list describes all of them."""
    damping: str = "auto"
    """lambda: auto (by effective degrees of freedom), auto-oas (by shrinkage), a multiple of the \
mean eigenvalue such as 0.1, abs:500, several of these as 0.01,0.1,abs:500, or path."""
    transform: Annotated[TransformName, tyro.conf.arg(help=transforms_in_words())] = "none"
    """What is done to the scores: a row of the table of transforms."""
    top_k: int = 100
    """Length of the lists of proponents and of opponents that are kept for each query."""
    save_scores: Literal["auto", "yes", "no"] = "auto"
    """Keep the whole (queries, training samples) matrix; auto: if it fits in the memory limit."""
    checkpoint_weights: str = "equal"
    """Weights of the checkpoints of tracincp and gas, such as 1,0.5,0.25 (learning rates)."""
    error_bars: bool = False
    """Also give the standard error of each score that the random projection causes."""
