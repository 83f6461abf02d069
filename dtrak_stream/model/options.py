"""The options that decide what of a model folder is read, and how.

A leaf of its own because the features' options, the rows of `families` and `loading` all need it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from dtrak_stream.errors import ConfigurationError

LatentsName: TypeAlias = Literal["mode", "sample"]
"""Which latent of an image's posterior is taken: the most likely one, or one that is drawn."""
WeightsName: TypeAlias = Literal["as-given", "raw", "ema"]
"""Which of the weights that training left: those that were named, the last, or averaged ones."""
ControlWeightsName: TypeAlias = Literal["as-given", "raw", "ema", "untrained"]
"""The same, or random ones, for features that are to be compared with those of a trained model."""
HalfName: TypeAlias = Literal["bfloat16", "float16"]
"""A half-precision type that a network runs in."""
TimeIdsName: TypeAlias = Literal["image", "model"]
"""Which sizes a network is told: each image's own and where it was cut, or always the model's."""


@dataclass(frozen=True)
class LoraOptions:
    """A LoRA and how much of it."""

    source: str
    """Its file, or the folder that holds it."""
    scale: float = 1.0
    """What its part of every layer is multiplied by."""
    some_layers: bool = False
    """Whether it may leave out layers of a kind that it has elsewhere."""


def loras_given(
    sources: Sequence[str], scales: Sequence[float], *, some_layers: bool
) -> tuple[LoraOptions, ...]:
    """Return LoRAs as a command line gives them, each with its scale; that of none is 1.

    Raises
    ------
    ConfigurationError
        If there are scales, and not one for each LoRA.
    """
    if scales and len(scales) != len(sources):
        raise ConfigurationError(
            f"{len(scales)} scales of {len(sources)} LoRAs",
            where="--lora-scale",
            remedy="give one for each --lora, in their order, or none",
        )
    pairs = zip(sources, scales or (1.0,) * len(sources), strict=True)
    return tuple(LoraOptions(*each, some_layers) for each in pairs)


def require_guidance(value: float | None, flag: str = "--guidance") -> None:
    """Refuse what is no strength of guidance; None is an option that was not given."""
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise ConfigurationError(
            "must be a number, 0 or above", where=f"{flag} {value}", remedy="change it"
        )


@dataclass(frozen=True)
class LoadingOptions:
    """How a model is read from its folder.

    Attributes
    ----------
    latents
        Which latents images become, of a model that has a first stage.
    seed
        Seed of latents that are drawn.
    size
        Side in pixels of the square images that a model was trained on; None where it says so.
    loras
        LoRAs that are put on the network and its text encoders.
    weights
        Which weights of the network are read.
    half
        The half-precision type that the network runs in and keeps those weights in that are not
        differentiated; None if it keeps them in the type it computes in.
    kept_whole
        Of a network in half precision, a regular expression of the names of those that are
        differentiated; nothing where LoRAs are all that is.
    guidance
        What a network that was distilled with guidance is told of it; None for the usual.
    t5_tokens
        How many tokens of a caption T5 reads; None for as many as the family's pipeline takes.
    time_ids
        What Stable Diffusion XL is told of sizes.
    base
        The pipeline that a network given alone was trained from, by its folder or `hf:OWNER/NAME`:
        what comes before the network, and the scheduler where it has none, are taken from it.
    untrained
        Whether the network has the random weights of `seed` instead of those in its folder; what
        comes before it has its own.
    """

    latents: LatentsName = "mode"
    seed: int = 0
    size: int | None = None
    loras: tuple[LoraOptions, ...] = ()
    weights: WeightsName = "as-given"
    half: HalfName | None = None
    kept_whole: str = ""
    guidance: float | None = None
    t5_tokens: int | None = None
    time_ids: TimeIdsName = "image"
    base: str | None = None
    untrained: bool = False
