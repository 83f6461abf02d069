"""Every option of the search for recipes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from dtrak_stream.benchmark.lds.options import DataName, LdsBenchConfig
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.evaluation.retraining.configuration import WorkerOptions


@dataclass(frozen=True)
class SearchConfig:
    """Judge recipes, each a sum of streams of features, by retrained models (LDS), beside `best`.

    Even queries are there to choose by, odd ones to report. What matters is the difference of a
    recipe from `best`, query by query, with its standard error: it is far smaller than that of
    either. The truths come along. Features and scores are kept in OUT.work: a truth that has grown,
    or recipes that are added, are judged in seconds.
    """

    out: Path = Path("runs/bench/search")
    """Results: OUT.json and OUT.md. Features and scores are kept in OUT.work."""
    data: tuple[DataName, ...] = ("digits", "fashion-mnist", "sprites")
    """Data sets."""
    recipes: tuple[str, ...] = ()
    """Groups of recipes, such as mix, or names of single ones (default: all but
    along-training, which trains the models of all data sets anew)."""
    crossfire: Path | None = None
    """The file crossfire.base of the game's images, or its folder; Debian's package
    crossfire-client-images has it. Without it the sprites are skipped."""
    fashion_mnist: Path | None = None
    """Folder of the Fashion-MNIST files; Debian's package dataset-fashion-mnist has them. Without
    it that part is skipped."""
    where: tyro.conf.OmitArgPrefixes[WorkerOptions] = field(default_factory=WorkerOptions)
    """Where features are computed."""
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        if not self.data:
            raise ConfigurationError(
                "names no data set", where="--data", remedy="name one, such as digits"
            )

    @property
    def of_truths(self) -> LdsBenchConfig:
        """Return the options by which data sets and their truths are made and found."""
        return LdsBenchConfig(
            out=self.out,
            data=self.data,
            fashion_mnist=self.fashion_mnist,
            crossfire=self.crossfire,
            where=self.where,
            quiet=self.quiet,
        )

    @property
    def work(self) -> Path:
        """Return where features and scores are kept."""
        return self.out.with_name(self.out.name + ".work")
