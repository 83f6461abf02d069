"""Where images lie, for residuals relative to those of neighbours: opened and checked."""

from __future__ import annotations

from pathlib import Path

from dtrak_stream.errors import ConfigurationError, InputError, refuse_differences
from dtrak_stream.features.comparing import refuse_other_features
from dtrak_stream.scoring.options import ScoreConfig
from dtrak_stream.scoring.relative_residuals import RelativeResiduals
from dtrak_stream.scoring.scored_images import images_of
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.support.device import device_of_products
from dtrak_stream.support.memory import parse_size

PIXELS = "pixels"
_FLAGS = ("--pixels", "--held-out-pixels")
Pair = tuple[FeatureStore, FeatureStore]
"""Of the candidates, and of the held-out images."""


def open_places(config: ScoreConfig) -> Pair | None:
    """Open the pixels of candidates and held-out images; None where no neighbours are asked for.

    Raises
    ------
    ConfigurationError
        If only part of what it takes is given.
    InputError
        If there is no store.
    """
    refuse_places_alone(config)
    if not config.neighbours:
        return None
    return _opened(config, "--pixels", config.pixels), _opened(
        config, "--held-out-pixels", config.held_out_pixels
    )


def relative_to(config: ScoreConfig, residuals: Pair, pixels: Pair) -> RelativeResiduals:
    """Return what residuals are to be relative to.

    Parameters
    ----------
    config
        What was asked for.
    residuals, pixels
        The stores of candidates and of held-out images.

    Raises
    ------
    ConfigurationError
        If there are not so many candidates.
    InputError, FingerprintMismatchError
        If a store holds no pixels, both were not made alike, or one is of other images than the
        residuals are; if something else lies where the result goes.
    """
    for flag, of, store in zip(_FLAGS, residuals, pixels, strict=True):
        _refuse_other_images(flag, of, store)
    refuse_other_features(*(each.fingerprint for each in pixels), where=pixels[1].layout.root)
    refuse_too_many(config.neighbours, len(residuals[0]))
    found = RelativeResiduals(
        residuals,
        pixels,
        config.neighbours,
        parse_size(config.memory_limit, flag="--memory-limit"),
        device_of_products(config.device, tf32=config.tf32),
        not config.quiet,
    )
    found.refuse_other()
    return found


def refuse_places_alone(config: ScoreConfig) -> None:
    """Refuse pixels without neighbours, and neighbours without residuals.

    Raises
    ------
    ConfigurationError
        Naming what is missing.
    """
    if config.neighbours:
        if config.residuals is None:
            raise ConfigurationError(
                "neighbours are those whose residuals others are taken relative to",
                where=f"--neighbours {config.neighbours}",
                remedy="give --residuals and --held-out, or leave it out",
            )
        return
    for flag, path in (("--pixels", config.pixels), ("--held-out-pixels", config.held_out_pixels)):
        if path is not None:
            raise ConfigurationError(
                "pixels tell which images are neighbours, and none are asked for",
                where=f"{flag} {path}",
                remedy="give --neighbours, such as 20, or leave it out",
            )


def _opened(config: ScoreConfig, flag: str, path: Path | None) -> FeatureStore:
    if path is None:
        raise ConfigurationError(
            "which images are neighbours is told by their pixels",
            where=f"--neighbours {config.neighbours}",
            remedy=f"give {flag}, a store made with dtrak-stream featurize --output-function "
            "pixels of the same images",
        )
    return FeatureStore.open(path)


def _refuse_other_images(flag: str, residuals: FeatureStore, pixels: FeatureStore) -> None:
    """Refuse a store that does not hold pixels of the images whose residuals another holds."""
    function, root = pixels.fingerprint.output_function, pixels.layout.root
    if function != PIXELS:
        raise InputError(
            f"holds features of {function}, not pixels",
            where=f"{flag} {root}",
            remedy="give a store made with dtrak-stream featurize --output-function pixels",
        )
    images = images_of(residuals.layout), images_of(pixels.layout)
    refuse_differences(
        [("samples", len(residuals), len(pixels)), *([("images", *images)] if all(images) else [])],
        where=root,
        remedy="featurize pixels of the same images as the residuals, brought to the same shape",
    )


def refuse_too_many(neighbours: int, candidates: int) -> None:
    """Refuse more neighbours than an image can have.

    Raises
    ------
    ConfigurationError
        Saying how many candidates there are.
    """
    if neighbours >= candidates:
        raise ConfigurationError(
            f"there are {candidates:,} candidates only",
            where=f"--neighbours {neighbours}",
            remedy="give less, such as 20",
        )
