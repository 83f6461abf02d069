"""What a report is made from, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import tyro

from dtrak_stream.data.options import ImageFlags, ImageOptions
from dtrak_stream.data.query_options import QueryImageFlags, QueryImageOptions
from dtrak_stream.data.spec import require_limit
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.support.option_values import require_number

_LEAST = {"max_queries": 0, "proponents": 1, "influential": 0, "shown_groups": 0, "tile_pixels": 16}


KnownImages: TypeAlias = Callable[[Literal["train", "query"]], str | None]
"""Returns the hash of the images of a side where that is known; see `Images.identity`."""


def nothing_known(_side: Literal["train", "query"]) -> None:
    """Return None: all images are to be read for their hash."""


@dataclass(frozen=True)
class ReportOptions:
    """What the report shows."""

    max_queries: int = 50
    """Queries shown, the first ones (0: all of them)."""
    proponents: int = 8
    """Proponents, and as many opponents, shown for each query."""
    influential: int = 8
    """Rows in the table of training images that are proponents of the most queries."""
    shown_groups: int = 5
    """Groups of training images shown at each end of a query's ranking of groups."""
    damping_number: int | None = None
    """Which of the dampings to show, from 0, where the scores are for a list of them."""
    tile_pixels: int = 128
    """Longest side of an embedded training image; a larger one is scaled down. A query image
    may be twice as long."""

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ConfigurationError(
                    f"{getattr(self, name)} is too small",
                    where=f"--{name.replace('_', '-')}",
                    remedy=f"give a whole number of at least {least}",
                )
        require_number("--damping-number", self.damping_number, 0)


@dataclass(frozen=True)
class ReportConfig:
    """Write an HTML page and PNG grids that show each query with its proponents and opponents."""

    scores: Path
    """The scores.h5 that dtrak-stream score wrote."""
    train: str
    """Source of the training images, as it was given to featurize."""
    query: str
    """Source of the query images, as it was given to featurize."""
    out: Path
    """Folder for index.html and grids/."""
    limit: int | None = None
    """The first so many training images, as it was given to featurize."""
    query_limit: int | None = None
    """The first so many query images, as it was given to featurize."""
    query_split: str | None = None
    """Split of the query images, as it was given to featurize as --split."""
    images: ImageFlags = field(default_factory=ImageOptions)
    """How images are brought to the model's shape, as it was given to featurize."""
    query_options: QueryImageFlags = field(default_factory=QueryImageOptions)
    """What was given to featurize otherwise for the query images."""
    report: tyro.conf.OmitArgPrefixes[ReportOptions] = field(default_factory=ReportOptions)
    """What the report shows."""
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        require_limit(self.limit)
        require_limit(self.query_limit, flag="--query-limit")

    @property
    def query_images(self) -> ImageOptions:
        """Return how query images are brought to the model's shape."""
        return self.query_options.over(self.images, split=self.query_split)


@dataclass(frozen=True)
class ReportResult:
    """The finished report."""

    path: Path
    """The HTML page."""
    quarantined: int = 0
    """Always 0: a report leaves no sample out that the scores have."""
