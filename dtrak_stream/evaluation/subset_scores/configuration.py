"""Every option of scores fitted to retrained models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.evaluation.options import LOSS_KEY
from dtrak_stream.support.memory import parse_size


@dataclass(frozen=True)
class SubsetScoreConfig:
    """Score training samples by what retraining on subsets did to the loss of each query.

    Judge such scores by other subsets than those they were fitted to: fit with --subsets 0:32 and
    run dtrak-stream lds with --subsets 32:.
    """

    truth: Path
    """Truth file (.npz) of dtrak-stream retrain-subsets."""
    out: Path
    """HDF5 file to write."""
    method: Literal["datamodel", "empirical-influence"] = "datamodel"
    """datamodel: a linear regression of the loss on what a subset holds; empirical-influence: mean
    loss without the sample less mean loss with it."""
    loss_key: str = LOSS_KEY
    """Which set of queries: the key of its losses, or the name it was given."""
    subsets: str = ":"
    """Fit to these subsets only, such as 0:32."""
    penalty: Literal["ridge", "lasso"] = "ridge"
    """Penalty of the datamodel; its strength is chosen for each query by cross-validation."""
    penalties: tuple[float, ...] = (0.1, 1.0, 10.0)
    """Strengths of the ridge penalty to choose from (the lasso has its own path)."""
    folds: int = 5
    """Folds of the cross-validation."""
    top_k: int = 100
    """Length of the lists of proponents and of opponents that are kept for each query."""
    memory_limit: str = "4GiB"
    """Memory for arrays."""
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        parse_size(self.memory_limit, flag="--memory-limit")
        for flag, value, holds, wanted in (
            ("--top-k", self.top_k, self.top_k > 0, "1 or more"),
            ("--folds", self.folds, self.folds > 1, "2 or more"),
            (
                "--penalties",
                self.penalties,
                bool(self.penalties) and all(0 < each < float("inf") for each in self.penalties),
                "positive numbers",
            ),
        ):
            if not holds:
                raise ConfigurationError(
                    f"{value} is not supported", where=flag, remedy=f"give {wanted}"
                )
