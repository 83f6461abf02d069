"""What differs in how queries are read from how training images are."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Annotated, Literal

import tyro

from dtrak_stream.data.options import (
    AlphaName,
    DepthName,
    FitName,
    ImageOptions,
    RangeName,
    ResampleName,
)
from dtrak_stream.support.option_values import require_number


@dataclass(frozen=True)
class QueryImageOptions:
    """How queries are read where not as the training images are; each is named like theirs."""

    query_image_fit: FitName | None = None
    """--image-fit of queries (default: as training images)."""
    query_center_crop: int | None = None
    """--center-crop of queries (default: as training images)."""
    query_channels: Literal["exact", "convert"] | None = None
    """--channels of queries (default: as training images)."""
    query_alpha: AlphaName | None = None
    """--alpha of queries (default: as training images)."""
    query_resample: ResampleName | None = None
    """--resample of queries (default: as training images)."""
    query_exif: Literal["apply", "ignore"] | None = None
    """--exif of queries (default: as training images)."""
    query_depth16: DepthName | None = None
    """--depth16 of queries (default: as training images)."""
    query_float_range: RangeName | None = None
    """--float-range of queries (default: as training images)."""

    def __post_init__(self) -> None:
        require_number("--query-center-crop", self.query_center_crop, 1)

    def over(self, images: ImageOptions, *, split: str | None) -> ImageOptions:
        """Return the options of queries, given those of training images.

        Parameters
        ----------
        images
            Of training images.
        split
            Of queries: it is never that of the training images.

        Raises
        ------
        ConfigurationError
            If what is left of them makes no sense together.
        """
        chosen = {each.name: getattr(self, each.name) for each in fields(self)}
        others = {
            name.removeprefix("query_"): value
            for name, value in chosen.items()
            if value is not None
        }
        return replace(images, split=split, **others)


QueryImageFlags = Annotated[
    tyro.conf.OmitArgPrefixes[QueryImageOptions], tyro.conf.arg(name="query image")
]
"""The same as flags without a prefix, framed as "query image options" in help."""
