"""Names of features that are no gradients, apart from what computes them."""

from __future__ import annotations

import re

from dtrak_stream.errors import ConfigurationError

IMAGE_FEATURES = ("pixels", "clip")
"""Features of the images alone: no diffusion model is loaded for them."""
RESIDUALS = "residuals"
"""Features that are errors of the model: no gradient is taken for them."""
FOURIER = "random Fourier features"
"""What stands for the projector of such features in fingerprints."""
_FOURIER = re.compile(r"rff\((.*)\)")


def fourier_inside(name: str | None) -> str | None:
    """Return what random Fourier features are taken of: `pixels` for `rff(pixels)`.

    Returns
    -------
    str or None
        None if the features are no such ones.

    Raises
    ------
    ConfigurationError
        If they are of something that they are not taken of here.
    """
    match = _FOURIER.fullmatch(name or "")
    if match is None:
        return None
    if match.group(1) not in IMAGE_FEATURES:
        raise ConfigurationError(
            "no random Fourier features are taken of that",
            where=f"--output-function {name}",
            remedy=f"use one of: {', '.join(f'rff({each})' for each in IMAGE_FEATURES)}",
        )
    return match.group(1)


def vector_of(name: str | None) -> str | None:
    """Return the vector that features are made of: that inside random Fourier features."""
    inside = fourier_inside(name)
    return name if inside is None else inside


def is_of_images(name: str | None) -> bool:
    """Return whether features are of the images alone, and no diffusion model is needed."""
    return vector_of(name) in IMAGE_FEATURES


def kind_of(name: str) -> str:
    """Return what kind of function a name is of: `interpolation` for `interpolation(0.3)`."""
    inside = fourier_inside(name)
    return name.partition("(")[0] if inside is None else f"rff({kind_of(inside)})"
