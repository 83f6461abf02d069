"""The table of projectors, and making one by its name.

A projector is a file with its class, and one row here: options and their help, tests and
benchmarks read the table. A row names its class without importing it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.projectors.projector import (
    MAX_PROJ_DIM,
    MIN_PROJ_DIM,
    PROJ_DIM_STEP,
    Projector,
)
from dtrak_stream.support.late_imports import imported


@dataclass(frozen=True)
class ProjectorKind:
    """One projector.

    Attributes
    ----------
    name
        Name on the command line.
    explanation
        What it is, as the help of `--projector` says it.
    place
        Where its class is: `module:name`, below this package. Called with (k, seed); with p, the
        length of the gradient, if it is not random.
    is_random
        Whether it is a random map to features of length k, which depends on the seed.
    has_halves
        Whether the sum and the difference of the halves of a feature are features of length k / 2
        of the same kind, apart from their scale and independent of each other.
    """

    name: str
    explanation: str
    place: str
    is_random: bool = True
    has_halves: bool = False


_SKETCH, _IDENTITY = "projectors.sketch:SketchProjector", "projectors.projector:IdentityProjector"
_SIGNS, _NORMAL = "projectors.dense:RademacherProjector", "projectors.dense:NormalProjector"

# fmt: off
_TABLE = (
    ProjectorKind("sketch", "fastest", _SKETCH, has_halves=True),
    ProjectorKind("rademacher", "a matrix of random signs", _SIGNS, has_halves=True),
    ProjectorKind("normal", "a matrix of normals", _NORMAL, has_halves=True),
    ProjectorKind("identity", "keeps everything", _IDENTITY, is_random=False),
)
# fmt: on

PROJECTORS: dict[str, ProjectorKind] = {kind.name: kind for kind in _TABLE}
RANDOM_PROJECTORS = tuple(kind.name for kind in _TABLE if kind.is_random)

if TYPE_CHECKING:
    ProjectorName = str
else:
    ProjectorName = Literal[tuple(PROJECTORS)]


def projectors_in_words() -> str:
    """Return each projector with what it is, for help."""
    return ", ".join(f"{kind.name} ({kind.explanation})" for kind in _TABLE)


def make_projector(name: str, *, proj_dim: int, seed: int, num_parameters: int) -> Projector:
    """Return the projector called `name`.

    Parameters
    ----------
    name
        A row of the table.
    proj_dim
        k. Ignored by `identity`, whose features are as long as the gradient.
    seed
        Seed of the random map.
    num_parameters
        p, the length of the gradient.

    Raises
    ------
    ConfigurationError
        If the name is unknown or proj_dim is not a multiple of 64 from 64 to 65,536.
    """
    if name not in PROJECTORS:
        raise ConfigurationError(
            "unknown projector",
            where=f"--projector {name}",
            remedy=f"use one of: {', '.join(PROJECTORS)}",
        )
    kind = PROJECTORS[name]
    if not kind.is_random:
        return _made(kind, num_parameters)
    require_proj_dim(proj_dim)
    return _made(kind, proj_dim, seed)


def require_proj_dim(proj_dim: int) -> None:
    """Refuse what is no length of a feature.

    Raises
    ------
    ConfigurationError
        If it is not a multiple of 64 from 64 to 65,536.
    """
    if not MIN_PROJ_DIM <= proj_dim <= MAX_PROJ_DIM or proj_dim % PROJ_DIM_STEP:
        raise ConfigurationError(
            "not supported",
            where=f"--proj-dim {proj_dim}",
            remedy=f"use a multiple of {PROJ_DIM_STEP} from {MIN_PROJ_DIM} to {MAX_PROJ_DIM:,}, "
            "such as 4096",
        )


def _made(kind: ProjectorKind, *arguments: int) -> Projector:
    projector: Projector = imported(kind.place)(*arguments)
    return projector
