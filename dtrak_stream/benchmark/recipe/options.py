"""Every option of the benchmark of the published recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dtrak_stream.benchmark.featurizing.options import ModelName
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.support.option_values import require_number


@dataclass(frozen=True)
class RecipeConfig:
    """Measure the recipe that D-TRAK was published with next to `best`, in turns.

    Published: gradients by torch.func.vmap(grad), one timestep at a time, of `square` at 100
    timesteps, noise of its own for each image, through a dense matrix of normals that is generated
    anew for each batch. `best`: this package's recipe. Each is timed in a process of its own; what
    would take hours is timed in part, and the page says which part. Both are judged by the truth
    about the digits. Processes that are done are kept in OUT.work: an interrupted run goes on.
    """

    models: tuple[ModelName, ...] = ("digits", "cifar")
    """digits: the small model that comes along (177k parameters, 8x8), k = 4,096; rgb32: 3.1M, \
32x32 RGB; cifar: the 35.7M UNet of the DDPM paper; k = 32,768 in the latter two, whose weights \
are random."""
    timesteps: int = 100
    """K of the published recipe."""
    batch: int = 52
    """Images that share one generation of the dense matrix: 52 in the published scripts."""
    rounds: int = 3
    """Times each is measured, in turns; medians are reported."""
    lds: bool = True
    """Judge both recipes by the truth about the digits (minutes)."""
    timed_timesteps: int | None = None
    """Timesteps of the published recipe that are timed, of --timesteps (default: all on digits, 4
    on rgb32, 2 on cifar)."""
    timed_parameters: int | None = None
    """Coordinates of gradients whose dense projection is timed (default: all on digits, 262,144 on
    rgb32, 65,536 on cifar)."""
    threads: int = 1
    """Threads of torch in each process."""
    device: str = "auto"
    """Where everything runs: auto, cpu, cuda, cuda:1 ..."""
    out: Path = Path("runs/bench/recipe")
    """Results: OUT.json and OUT.md. What is finished is kept in OUT.work."""
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        for flag, value in (
            ("--timesteps", self.timesteps),
            ("--batch", self.batch),
            ("--rounds", self.rounds),
            ("--threads", self.threads),
        ):
            require_number(flag, value, 1)
        for flag, given in (
            ("--timed-timesteps", self.timed_timesteps),
            ("--timed-parameters", self.timed_parameters),
        ):
            require_number(flag, 1 if given is None else given, 1)
        if not self.models:
            raise ConfigurationError("leaves nothing", where="--models", remedy="name a model")
