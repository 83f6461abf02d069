"""Every option of removing samples: a leaf, so that `--help` loads no library for files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dtrak_stream.errors import ConfigurationError


@dataclass(frozen=True)
class RemoveConfig:
    """Remove samples from feature stores: they are in no score, list, page or export any more.

    Their rows keep their place, and are passed over like those of bad images. What was made of the
    stores before is brought up to date by the commands that made it. Killed at any moment, and run
    again, it does what is left to do; a sample that is removed already stays removed.
    """

    store: tuple[Path, ...]
    """Feature stores; several, of several models, may follow each other: RUN/train, or all
    RUN/models/*/train."""
    ids: Path | None = None
    """Text file with the id of a sample in each line, as the store and its scores tell them."""
    rows: Path | None = None
    """Instead: file of row numbers from 0 (.txt with one a line, .npy or .json)."""

    def refuse_nothing_to_do(self) -> None:
        """Refuse to remove nothing, or what is told in two ways.

        Raises
        ------
        ConfigurationError
            Saying what is to be given.
        """
        if not self.store:
            raise ConfigurationError("none is given", where="--store", remedy="name one or more")
        if (self.ids is None) == (self.rows is None):
            raise ConfigurationError(
                "exactly one of them tells what to remove",
                where="--ids and --rows",
                remedy="give sample ids as --ids, or row numbers as --rows",
            )
