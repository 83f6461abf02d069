"""What images are said to be of: where captions and labels are taken from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from dtrak_stream.data.caption_template import CaptionTemplate
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.support.option_values import MAY_BE_EMPTY


@dataclass(frozen=True)
class ConditionOptions:
    """Where the captions and labels of images are, for models that are told them."""

    caption_column: str | None = None
    """Column of captions (default: the one called text, caption or prompt, the only one of text, \
or .txt files beside the images)."""
    caption_template: str | None = None
    """Caption made of label and columns, such as "a {label, _ as space, lower} painting"."""
    drop_captions: bool = False
    """Give every image the empty caption, for gradients that depend on no caption."""
    missing_captions: str | None = field(default=None, metadata=MAY_BE_EMPTY)
    """Caption of images that have none, which may be empty (default: they are refused)."""
    label_column: str | None = None
    """Column of labels, or folder (default: the one called label, class, target ..., or the \
folders that images lie in, sorted)."""
    class_names: str | None = None
    """Names of the classes in the order of their labels, separated by commas, or FILE.txt with \
one a line (default: as the data set says, or the names there are, sorted)."""

    def __post_init__(self) -> None:
        given = {
            "--caption-column": self.caption_column,
            "--caption-template": self.caption_template,
            "--drop-captions": self.drop_captions or None,
        }
        several = [flag for flag, value in given.items() if value is not None]
        if len(several) > 1:
            raise ConfigurationError(
                "each says what captions are", where=", ".join(several), remedy="give one of them"
            )
        if self.drop_captions and self.missing_captions is not None:
            raise ConfigurationError(
                "no caption is missing where all are dropped",
                where="--drop-captions, --missing-captions",
                remedy="give one of them",
            )
        if self.caption_template is not None:
            CaptionTemplate(self.caption_template)


ConditionFlags = Annotated[
    tyro.conf.OmitArgPrefixes[ConditionOptions], tyro.conf.arg(name="caption and label")
]
"""The same as flags without a prefix, framed as "caption and label options" in help."""
