"""Every option of the LDS benchmark."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import tyro

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.evaluation.retraining.configuration import WorkerOptions
from dtrak_stream.objective.formulas import FORMULAS
from dtrak_stream.objective.noise_keying import NoiseKeying
from dtrak_stream.support.option_values import require_number

DataName = Literal["digits", "fashion-mnist", "sprites"]
ChosenQueries = Literal["all", "even", "odd"]


class JudgingConfig(Protocol):
    """What judging asks of the options of a benchmark."""

    @property
    def out(self) -> Path:
        """Return where results go; OUT.work keeps what is finished."""

    @property
    def queries(self) -> ChosenQueries:
        """Return which queries count."""

    @property
    def where(self) -> WorkerOptions:
        """Return where features are computed."""

    @property
    def quiet(self) -> bool:
        """Return whether no progress bars are drawn."""


@dataclass(frozen=True)
class LdsBenchConfig:
    """Judge output functions, timesteps, noise, transforms and baselines by retrained models (LDS).

    The truths about 1,000 digits (8x8), 1,000 trousers and sneakers of Fashion-MNIST (16x16) and
    1,000 sprites (16x16 RGB) come along, and so do the models and what they generated; the images
    of the last two do not. What is done is not done again: an interrupted run goes on when the
    same command is given again.
    """

    out: Path = Path("runs/bench/lds")
    """Results: OUT.json and OUT.md. Models, truth and finished rows are kept in OUT.work."""
    data: tuple[DataName, ...] = ("digits", "fashion-mnist", "sprites")
    """Data sets."""
    fashion_mnist: Path | None = None
    """Folder of the Fashion-MNIST files (train-images-idx3-ubyte.gz and so on); Debian's package
    dataset-fashion-mnist has them. Without it that part is skipped."""
    crossfire: Path | None = None
    """The file crossfire.base of the game's images, or its folder; Debian's package
    crossfire-client-images has it. Without it the sprites are skipped."""
    output_functions: tuple[str, ...] = tuple(FORMULAS)
    """What is differentiated."""
    timesteps: tuple[int, ...] = (10, 100)
    """K, numbers of timesteps."""
    noise: tuple[NoiseKeying, ...] = ("shared", "per-sample")
    """How noise is drawn."""
    baselines: bool = True
    """Also the other methods: pixels, gradient products, relative-if, renorm-if, journey-trak, das,
    and what is fitted to retrained models; at the first of --timesteps, with shared noise."""
    proj_dim: int = 4096
    """Length k of a feature."""
    queries: ChosenQueries = "all"
    """Judge by every second query only: choose on the even ones and report the odd ones."""
    remake: bool = False
    """Make the models and truths about Fashion-MNIST and the sprites here rather than take what
    comes along: hours. They are kept in OUT.work."""
    subsets: int = 32
    """Halves that models are retrained on, of what is made here."""
    seeds: int = 2
    """Models retrained on each of these halves; from 2 on the noise ceiling is known."""
    repeated_subsets: int | None = None
    """How many of these halves, the first ones, get models of more than the first seed (default:
    all)."""
    where: tyro.conf.OmitArgPrefixes[WorkerOptions] = field(default_factory=WorkerOptions)
    """Where models are trained, and features computed."""
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        require_number("--proj-dim", self.proj_dim, 1, 2**16)
        require_number("--repeated-subsets", self.repeated_subsets, 1, max(self.subsets, 1))
        for flag, value, holds in (
            ("--timesteps", self.timesteps, all(count > 0 for count in self.timesteps)),
            ("--data", self.data, bool(self.data)),
            ("--subsets", self.subsets, self.subsets > 2),
            ("--seeds", self.seeds, self.seeds > 0),
        ):
            if not holds:
                raise ConfigurationError(
                    f"{value} is not supported", where=flag, remedy="see --help"
                )
