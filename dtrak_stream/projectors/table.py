"""The table of projectors, and making one by its name."""

from __future__ import annotations

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.projectors.dense import NormalProjector, RademacherProjector
from dtrak_stream.projectors.projector import (
    MAX_PROJ_DIM,
    MIN_PROJ_DIM,
    PROJ_DIM_STEP,
    IdentityProjector,
    Projector,
)
from dtrak_stream.projectors.sketch import SketchProjector

_RANDOM = {
    "sketch": SketchProjector,
    "rademacher": RademacherProjector,
    "normal": NormalProjector,
}
PROJECTORS = (*_RANDOM, "identity")


def make_projector(name: str, *, proj_dim: int, seed: int, num_parameters: int) -> Projector:
    """Return the projector called `name`.

    Parameters
    ----------
    name
        `sketch`, `rademacher`, `normal` or `identity`.
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
    if name == "identity":
        return IdentityProjector(num_parameters)
    if name not in _RANDOM:
        raise ConfigurationError(
            "unknown projector",
            where=f"--projector {name}",
            remedy=f"use one of: {', '.join(PROJECTORS)}",
        )
    if not MIN_PROJ_DIM <= proj_dim <= MAX_PROJ_DIM or proj_dim % PROJ_DIM_STEP:
        raise ConfigurationError(
            "not supported",
            where=f"--proj-dim {proj_dim}",
            remedy=f"use a multiple of {PROJ_DIM_STEP} from {MIN_PROJ_DIM} to {MAX_PROJ_DIM:,}, "
            "such as 4096",
        )
    projector: Projector = _RANDOM[name](proj_dim, seed)
    return projector
