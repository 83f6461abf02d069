"""Every option of importing a truth."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.exchange.options import PickedImages
from dtrak_stream.support.option_values import require_number

_MOST_SUBSETS = 2**20
_RANGE = re.compile(r"(\d{0,9}):(\d{0,9})")


@dataclass(frozen=True)
class ImportTruthConfig:
    """Make a truth file of the losses that D-TRAK's scripts measured; nothing is trained.

    A loss is the mean over timesteps and noise seeds of what the files of a model hold; that of a
    subset is the mean over its models, one of each seed. The truth is then one of dtrak-stream lds,
    for scores of the same training images and queries.
    """

    out: Path
    """Truth file to write (.npz)."""
    index: Path
    """Pickle of the rows of all training images, such as data/indices/5000-0.5/idx-train.pkl: \
their order is that of the mask."""
    subset_index: Path
    """Folder of sub-idx-SUBSET.pkl, the rows that each model was trained on, such as \
data/indices/5000-0.5/lds-val."""
    models: Path
    """Folder of the retrained models, NAME-sub-SUBSET-SEED, each with its losses \
e-NOISE-val.pkl and e-NOISE-gen.pkl, such as saved/5000-0.5/lds-val."""
    query: tuple[str, ...] = ("val", "gen")
    """Sets of queries, as the loss files name them: NAME, or NAME=IDS with a file of their ids, \
one a line, or a pickle of row numbers. Without ids they are matched by position. The first is \
stored as `loss`, the others as `loss_NAME`."""
    subsets: str = ":"
    """Numbers of the subsets, such as 0:64. Default: from 0 to the last one that has a model."""
    model_seeds: tuple[int, ...] = ()
    """Seeds of the models of each subset. Default: all that are there."""
    noise_seeds: tuple[int, ...] = ()
    """Seeds of the noise that losses were measured with. Default: all that are there."""
    missing: Literal["refuse", "leave-out"] = "refuse"
    """Where a file of losses is missing: refuse, or leave its subset out of the truth."""
    ids: Path | None = None
    """File with the id of each training image, one a line, in the order of --index, or a pickle \
of row numbers. Default: the row numbers in --index."""
    images: str | None = None
    """Image source whose ids the training images have, in the order of --index, instead of \
--ids."""
    picked: tyro.conf.OmitArgPrefixes[PickedImages] = field(default_factory=PickedImages)
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        for flag, seeds in (
            ("--model-seeds", self.model_seeds),
            ("--noise-seeds", self.noise_seeds),
        ):
            for seed in seeds:
                require_number(flag, seed, 0, 10**9)
        if not self.query:
            raise ConfigurationError("names no set", where="--query", remedy="give val, or gen")

    def subset_range(self, count: int) -> range:
        """Return the numbers of the subsets that are meant, if there are `count` by default.

        Raises
        ------
        ConfigurationError
            If it is no range, or an empty one.
        """
        found = _RANGE.fullmatch(self.subsets)
        start = int(found[1] or 0) if found else 0
        stop = int(found[2]) if found and found[2] else max(count, start + 1)
        if found is None or not start < stop <= start + _MOST_SUBSETS:
            raise ConfigurationError(
                "is no range of subsets",
                where=f"--subsets {self.subsets}",
                remedy="write a:b with whole numbers, such as 0:64",
            )
        return range(start, stop)


@dataclass(frozen=True)
class ImportTruthResult:
    """What importing did.

    Attributes
    ----------
    path
        The truth file.
    subsets, models
        Number of subsets in it, and of the models that their losses are of.
    left_out
        Subsets that are not in it for want of a file.
    quarantined
        Always 0: subsets that are left out are told.
    """

    path: Path
    subsets: int
    models: int
    left_out: tuple[int, ...] = ()
    quarantined: int = 0
