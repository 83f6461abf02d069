"""Every option of the benchmark of the projectors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dtrak_stream.model.places import EMBEDDED_MODEL
from dtrak_stream.support.option_values import require_number

ProjectorKind = Literal["sketch", "rademacher", "normal"]
VectorKind = Literal["gaussian", "gradients"]


@dataclass(frozen=True)
class ProjectorsConfig:
    """Measure the error of projected inner products against theory, and the time of projecting.

    The error of a pair is (<Px, Py> - <x, y>) / (|x| |y|), over all pairs of the vectors and
    over many seeds of P. Time is that of one gradient in a batch, over the time of reading it.
    """

    model: str = EMBEDDED_MODEL
    """Model whose gradients are projected, and whose p is used."""
    images: str = "sklearn:digits"
    """Images whose gradients are projected; the first --rows of them are used."""
    output_function: str = "simple"
    """What is differentiated. Gradients of simple differ more from image to image than those of
    square, so that fewer seeds tell as much."""
    timesteps: str = "10"
    """Timesteps f is averaged over."""
    vectors: tuple[VectorKind, ...] = ("gaussian", "gradients")
    """Vectors that are projected: independent normal entries, and real gradients."""
    num_parameters: int | None = None
    """Use only the first so many entries of the gradients (default: all p of the model)."""
    rows: int = 64
    """Vectors of each kind: the batch that is timed, and whose pairs are compared."""
    proj_dims: tuple[int, ...] = (1024, 4096)
    """Lengths k of a feature."""
    projectors: tuple[ProjectorKind, ...] = ("sketch", "rademacher", "normal")
    """Projectors to measure."""
    sketch_seeds: int = 1000
    """Independent sketches the error is averaged over."""
    rademacher_seeds: int = 60
    """Independent matrices of signs."""
    normal_seeds: int = 60
    """Independent matrices of normals."""
    repeats: int = 5
    """Times a batch is read and projected for the timing; medians are reported."""
    device: str = "auto"
    """Where vectors are projected: auto, cpu, cuda, cuda:1 ..."""
    out: Path = Path("runs/bench/projectors")
    """Results: OUT.json and OUT.md."""
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        for proj_dim in self.proj_dims:
            require_number("--proj-dims", proj_dim, 1, 2**16)
        for flag, value, least in (
            ("--rows", self.rows, 2),
            ("--num-parameters", self.num_parameters or 1, 1),
            ("--sketch-seeds", self.sketch_seeds, 2),
            ("--rademacher-seeds", self.rademacher_seeds, 2),
            ("--normal-seeds", self.normal_seeds, 2),
            ("--repeats", self.repeats, 1),
        ):
            require_number(flag, value, least)

    def seeds(self, projector: ProjectorKind) -> int:
        """Return how many seeds of a projector are averaged over."""
        return {
            "sketch": self.sketch_seeds,
            "rademacher": self.rademacher_seeds,
            "normal": self.normal_seeds,
        }[projector]

    def cases(self) -> list[tuple[ProjectorKind, int]]:
        """Return every (projector, k) to measure."""
        return [(kind, proj_dim) for kind in self.projectors for proj_dim in self.proj_dims]
