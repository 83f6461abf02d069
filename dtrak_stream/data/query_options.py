"""What differs in how queries are read from how training images are."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dtrak_stream.data.condition_options import ConditionOptions
from dtrak_stream.data.options import (
    AlphaName,
    DepthName,
    FitName,
    ImageOptions,
    RangeName,
    ResampleName,
    refuse_no_conditions,
)
from dtrak_stream.data.presets import PRESETS, PresetName
from dtrak_stream.support.option_values import MAY_BE_EMPTY, REPEATABLE, require_number


@dataclass(frozen=True)
class QueryImageOptions:
    """How queries are read where not as the training images are; each is named like theirs."""

    query_preset: PresetName | None = None
    """--preset of queries (default: as training images)."""
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
    query_path_column: str | None = None
    """--path-column of queries (default: as training images)."""
    query_where: tuple[str, ...] = field(default=(), metadata=REPEATABLE)
    """--where of queries (default: all of them)."""
    query_rows: Path | None = None
    """--rows of queries (default: all of them)."""

    def __post_init__(self) -> None:
        refuse_no_conditions(self.query_where, "--query-where")
        require_number("--query-center-crop", self.query_center_crop, 1)

    def over(self, images: ImageOptions, *, split: str | None) -> ImageOptions:
        """Return the options of queries, given those of training images.

        Parameters
        ----------
        images
            Of training images.
        split
            Of queries: it is never that of the training images, and neither are the rows picked.

        Raises
        ------
        ConfigurationError
            If what is left of them makes no sense together.
        """
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        said = {
            name.removeprefix("query_"): value
            for name, value in given.items()
            if value is not None and name != "query_preset"
        }
        preset = {} if self.query_preset is None else PRESETS[self.query_preset]
        return replace(images.elsewhere(split), **{**preset, **said})


QueryImageFlags = Annotated[
    tyro.conf.OmitArgPrefixes[QueryImageOptions], tyro.conf.arg(name="query image")
]
"""The same as flags without a prefix, framed as "query image options" in help."""


@dataclass(frozen=True)
class QueryConditionOptions:
    """Where captions and labels of queries are if not as of training images; named like theirs."""

    query_caption_column: str | None = None
    """--caption-column of queries (default: whatever captions of training images are made of)."""
    query_caption_template: str | None = None
    """--caption-template of queries (default: whatever captions of training images are made of)."""
    query_drop_captions: Literal["yes", "no"] | None = None
    """--drop-captions of queries (default: as training images)."""
    query_missing_captions: str | None = field(default=None, metadata=MAY_BE_EMPTY)
    """--missing-captions of queries (default: as training images)."""
    query_label_column: str | None = None
    """--label-column of queries (default: as training images)."""

    def over(self, conditions: ConditionOptions) -> ConditionOptions:
        """Return the options of queries, given those of training images.

        What is said of the captions of queries takes the place of all that is said of those of
        training images: a column that of a template, for one.

        Raises
        ------
        ConfigurationError
            If what is left of them makes no sense together.
        """
        column, template = self.query_caption_column, self.query_caption_template
        drop = self.query_drop_captions == "yes"
        if drop or column is not None or template is not None:
            conditions = replace(
                conditions,
                caption_column=column,
                caption_template=template,
                drop_captions=drop,
                missing_captions=None if drop else conditions.missing_captions,
            )
        elif self.query_drop_captions == "no":
            conditions = replace(conditions, drop_captions=False)
        if self.query_missing_captions is not None:
            conditions = replace(conditions, missing_captions=self.query_missing_captions)
        label = self.query_label_column or conditions.label_column
        return replace(conditions, label_column=label)


QueryConditionFlags = Annotated[
    tyro.conf.OmitArgPrefixes[QueryConditionOptions], tyro.conf.arg(name="query caption and label")
]
"""The same as flags without a prefix, framed as "query caption and label options" in help."""
