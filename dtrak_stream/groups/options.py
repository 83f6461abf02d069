"""Which training samples belong together: what the user may choose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.support.option_values import require_number
from dtrak_stream.support.unused_options import refuse_unused


@dataclass(frozen=True)
class GroupOptions:
    """Groups of training samples (class, artist, source, prompt) whose scores are summed."""

    groups: Path | None = None
    """CSV file with a sample id and its group on each line (a header is allowed)."""
    group_column: str | None = None
    """Column of the training images' data set that names each sample's group: of parquet, \
datasets, webdataset (json.artist for an entry), another key of the npz or h5 file, folder for a \
folder of images, target for sklearn:digits."""
    group_source: str | None = None
    """The training images, to read --group-column from (default in dtrak-stream \
attribute: --train)."""
    group_split: str | None = None
    """Split of a Hugging Face data set that --group-source names (default: --split, or train)."""
    top_groups: int = 20
    """Length of the lists of groups that are kept for each query."""
    rank_groups: Literal["sum", "mean"] = "sum"
    """Rank groups by the sum of their samples' scores, or by the mean."""

    def __post_init__(self) -> None:
        require_number("--top-groups", self.top_groups, 1)

    @property
    def chosen(self) -> bool:
        """Return whether there are to be groups.

        Raises
        ------
        ConfigurationError
            If the options contradict each other.
        """
        if self.groups is not None and self.group_column is not None:
            raise ConfigurationError(
                "groups are given twice",
                where="--groups and --group-column",
                remedy="give one of them",
            )
        if self.group_column is not None and self.group_source is None:
            raise ConfigurationError(
                "it is not said which images the column belongs to",
                where=f"--group-column {self.group_column}",
                remedy="give the training images as --group-source",
            )
        self._refuse_options_of_a_column()
        if self.groups is None and self.group_column is None:
            refuse_unused(self, ("top_groups", "rank_groups"), "there are no groups")
            return False
        return True

    def _refuse_options_of_a_column(self) -> None:
        for flag, value in (
            ("--group-source", self.group_source),
            ("--group-split", self.group_split),
        ):
            if value is not None and self.group_column is None:
                raise ConfigurationError(
                    "it says where a column of groups is read, and none is named",
                    where=f"{flag} {value}",
                    remedy="name it as --group-column, or leave this out",
                )


GroupFlags = Annotated[tyro.conf.OmitArgPrefixes[GroupOptions], tyro.conf.arg(name="group")]
"""The same as flags without a prefix, framed as "group options" in help."""
