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
AUTO_LAYER = "auto"
"""What stands for the last block of a network."""
_FOURIER = re.compile(r"rff\((.*)\)")
_ACTIVATION = re.compile(r"activation\(([^()]+)\)")
_INSIDE_FOURIER = (*IMAGE_FEATURES, "activation(LAYER)")


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
    inside: str = match.group(1)
    if inside not in IMAGE_FEATURES and _ACTIVATION.fullmatch(inside) is None:
        raise ConfigurationError(
            "no random Fourier features are taken of that",
            where=f"--output-function {name}",
            remedy=f"use one of: {', '.join(f'rff({each})' for each in _INSIDE_FOURIER)}",
        )
    return inside


def layer_inside(name: str | None) -> str | None:
    """Return the layer that features are activations of, `auto` for the last block; else None.

    Random Fourier features are of the layer that they are taken of.
    """
    match = _ACTIVATION.fullmatch(vector_of(name) or "")
    return match.group(1) if match else None


def vector_of(name: str | None) -> str | None:
    """Return the vector that features are made of: that inside random Fourier features."""
    inside = fourier_inside(name)
    return name if inside is None else inside


def is_of_images(name: str | None) -> bool:
    """Return whether features are of the images alone, and no diffusion model is needed."""
    return vector_of(name) in IMAGE_FEATURES


def is_of_gradients(name: str | None) -> bool:
    """Return whether features come out of a backward pass."""
    return not is_of_images(name) and layer_inside(name) is None


def kind_of(name: str) -> str:
    """Return what kind of function a name is of: `interpolation` for `interpolation(0.3)`."""
    inside = fourier_inside(name)
    return name.partition("(")[0] if inside is None else f"rff({kind_of(inside)})"
