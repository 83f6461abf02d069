"""How large the samples of a model are: as its folder says, or as the user says it was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from torch import nn

from dtrak_stream.data.options import ImageShape
from dtrak_stream.errors import ConfigurationError, ModelError
from dtrak_stream.model.autoencoders import AUTOENCODER_PARTS
from dtrak_stream.model.config_files import read_config
from dtrak_stream.model.model_folder import NETWORK_FILE, ModelFolder

_BLOCKS = (64,)  # of an autoencoder of diffusers whose configuration does not say


def sample_side(found: ModelFolder, size: int | None) -> int | None:
    """Return the side of what is noised for square images of `size` pixels; None for None.

    Raises
    ------
    ConfigurationError
        If the autoencoder beside the network cannot halve images of that size.
    """
    if size is None:
        return None
    factor = _downscaling(found)
    if size % factor:
        raise ConfigurationError(
            f"the autoencoder makes one number of each {factor} x {factor} pixels, and images "
            "cannot be cut into such squares",
            where=f"--size {size}",
            remedy=f"give a multiple of {factor}, the size that the model was trained at",
        )
    return size // factor


def _downscaling(found: ModelFolder) -> int:
    """Return how many pixels a side of one latent has: 1 where images are noised themselves."""
    parts = [part for name, part in found.further.items() if name in AUTOENCODER_PARTS]
    if not parts or not parts[0].folder.is_dir():
        return 1
    config = read_config(parts[0].folder / NETWORK_FILE, what="configuration of an autoencoder")
    halvings = len(config.get("block_out_channels") or _BLOCKS) - 1
    return int(2**halvings)


def sides_of(config: Any, side: int | None) -> list[int] | None:
    """Return height and width of samples; None if a configuration does not say them.

    Parameters
    ----------
    config
        Of a network.
    side
        What is taken in place of its `sample_size`.
    """
    size = config.sample_size if side is None else side
    sides = [size, size] if isinstance(size, int) else list(size or [])
    known = len(sides) == 2 and all(isinstance(each, int) and each > 0 for each in sides)
    return sides if known else None


def unet_shape(network: nn.Module, found: ModelFolder, side: int | None) -> ImageShape:
    """Return the shape of what a `UNet2DModel` takes; see `ModelFamily.sample_shape`.

    Raises
    ------
    ModelError
        If the configuration does not say it, or says one that its blocks cannot halve.
    ConfigurationError
        If its blocks cannot halve what is given in its place.
    """
    config = cast(Any, network).config
    factor = 2 ** (len(config.block_out_channels) - 1)
    sides = sides_of(config, side)
    if sides is None:
        problem = f"sample_size {config.sample_size} does not say how large its images are"
    elif not any(each % factor for each in sides):
        return ImageShape(config.in_channels, *sides)
    elif side is not None:
        raise ConfigurationError(
            f"makes samples {side} wide, which cannot be halved as often as its blocks do",
            where="--size",
            remedy=f"give a size whose samples are a multiple of {factor} wide",
        )
    else:
        problem = f"sample_size {config.sample_size} cannot be halved as often as its blocks do"
    raise ModelError(
        problem,
        where=found.network / NETWORK_FILE,
        remedy="give the side of the images it was trained on with --size, or write their height "
        f'and width there, multiples of {factor}: "sample_size": [{8 * factor}, {8 * factor}]',
    )


def square_shape(network: nn.Module, found: ModelFolder, side: int | None) -> ImageShape:
    """Return the shape of the square latents that a `DiTTransformer2DModel` or PixArt takes.

    Raises
    ------
    ModelError
        If they cannot be cut into its patches.
    ConfigurationError
        If other ones are to be taken: it knows its patches by their places among so many.
    """
    config = cast(Any, network).config
    if config.sample_size % config.patch_size:
        raise ModelError(
            f"sample_size {config.sample_size} cannot be cut into patches of {config.patch_size}",
            where=found.network / NETWORK_FILE,
            remedy="write the side of the latents it was trained on there",
        )
    if side not in (None, config.sample_size):
        raise ConfigurationError(
            f"makes latents {side} wide, and the places that a {type(network).__name__} knows are "
            f"those of {config.sample_size}",
            where="--size",
            remedy="leave it out",
        )
    return ImageShape(config.in_channels, config.sample_size, config.sample_size)


def refuse_told_an_image(network: nn.Module, path: Path) -> None:
    """Refuse a network that takes more channels than it answers.

    Raises
    ------
    ModelError
        With the numbers of channels.
    """
    config = cast(Any, network).config
    answered = config.out_channels or config.in_channels
    if config.in_channels != answered:
        raise ModelError(
            f"takes {config.in_channels} channels and answers {answered}: it is told an image "
            "too, as models for inpainting, editing, depth or upscaling are",
            where=path,
            remedy="give a text-to-image model, whose network answers as many channels as it takes",
        )
