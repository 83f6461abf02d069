"""First stages of diffusers: `AutoencoderKL` and `VQModel`, from `vae/` or `vqvae/` of a folder.

Both run in float32 whatever their weights are kept in: in float16 the autoencoders of several
published models overflow.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import xxhash
from safetensors import safe_open
from torch import Tensor, nn

from dtrak_stream.data.options import ImageShape
from dtrak_stream.errors import ConfigurationError, ModelError
from dtrak_stream.model.config_files import read_config
from dtrak_stream.model.latent_draws import LatentDraws
from dtrak_stream.model.latent_scaling import LatentScaling, read_scaling
from dtrak_stream.model.model_folder import NETWORK_FILE, ModelFolder, ModelPart
from dtrak_stream.model.network_files import load_network, network_outline
from dtrak_stream.model.options import LoadingOptions
from dtrak_stream.model.parameters import hash_of_weights, refuse_weights_not_finite
from dtrak_stream.model.weight_files import WeightFiles, find_weights
from dtrak_stream.support.arithmetic import repeatable

AUTOENCODER_PARTS = frozenset({"vae", "vqvae"})
_CLASSES = ("AutoencoderKL", "VQModel")
# what of a configuration decides latents; the rest is about decoding, training or tiles
_DECIDES = (
    *("in_channels", "down_block_types", "block_out_channels", "layers_per_block", "act_fn"),
    *("latent_channels", "norm_num_groups", "mid_block_add_attention", "use_quant_conv"),
    "vq_embed_dim",
)
_HALF = {"F16": "float16", "BF16": "bfloat16"}
_ENCODING = ("encoder.", "quant_conv.")
_DECODING = ("decoder.", "post_quant_conv.", "quantize.")
_WIDEST_BYTES = 2**30  # of what the widest layers hold at a time
_WIDEST_TENSORS = 6


@dataclass(frozen=True)
class Autoencoder:
    """An autoencoder of diffusers as a `FirstStage`.

    Attributes
    ----------
    network
        An `AutoencoderKL` or `VQModel` in float32 and evaluation mode.
    sample_shape
        The shape of its latents.
    scaling
        What the network is trained with in place of what is encoded.
    draws
        How latents are drawn from the posterior; None for its mode.
    kept_in
        What its weights are kept in, if that is a half-precision type; else nothing.
    """

    network: nn.Module
    sample_shape: ImageShape
    scaling: LatentScaling
    draws: LatentDraws | None = None
    kept_in: str = ""

    @property
    def image_shape(self) -> ImageShape:
        """Return the shape of the images it takes: its blocks halve them, all but the last one."""
        config, latent = self._config, self.sample_shape
        factor = 2 ** (len(config.block_out_channels) - 1)
        return ImageShape(config.in_channels, latent.height * factor, latent.width * factor)

    @property
    def identity(self) -> str:
        """Return a hash of all that encodes, the scaling, and which latents are taken."""
        taken = "mode" if self.draws is None else f"sample of seed {self.draws.seed}"
        return f"{self._identity_of(_ENCODING)} {taken}"

    @property
    def decoding_identity(self) -> str:
        """Return a hash of all that decodes, and the scaling that is undone before."""
        return self._identity_of(_DECODING)

    @property
    def description(self) -> str:
        """Return the shape of latents, and where they come from."""
        taken = "" if self.draws is None else ", drawn"
        kept = f", kept in {self.kept_in} and run in float32" if self.kept_in else ""
        named = type(self.network).__name__
        return f"latents {self.sample_shape} ({named}{taken}, {self.scaling.description}{kept})"

    @property
    def weight_bytes(self) -> int:
        """Return how many bytes of memory its weights take."""
        return sum(each.numel() * each.element_size() for each in self.network.parameters())

    @torch.no_grad()
    def latents(self, images: Tensor, sample_ids: Sequence[str]) -> Tensor:
        """Return the latents of images; see `FirstStage.latents`.

        So many images go through the network at a time as a bounded amount of memory allows.

        Raises
        ------
        ConfigurationError
            If images have another shape than the network was trained with.
        """
        self._refuse_other_shape(images)
        count = self._images_at_a_time
        with repeatable(images.device):
            blocks = [
                self._encoded(images[first : first + count], sample_ids[first : first + count])
                for first in range(0, len(images), count)
            ]
        return torch.cat(blocks)

    @torch.no_grad()
    def images(self, latents: Tensor) -> Tensor:
        """Return the images that latents stand for; see `FirstStage.images`."""
        decoder, encoded = cast(Any, self.network), self.scaling.undone(latents.float())
        with repeatable(latents.device):
            blocks = [
                decoder.decode(block, return_dict=False)[0]
                for block in torch.split(encoded, self._images_at_a_time)
            ]
        return torch.cat(blocks)

    def remarks(self) -> list[str]:
        """Return nothing: what there is to say is in the description."""
        return []

    def _encoded(self, images: Tensor, sample_ids: Sequence[str]) -> Tensor:
        """Return the latents of one block: (B, C, H, W) -> (B, c, h, w)."""
        encoder = cast(Any, self.network)
        if type(self.network).__name__ == "VQModel":  # what is diffused is not yet quantised
            return self.scaling.applied(encoder.encode(images).latents)
        posterior = encoder.encode(images).latent_dist
        latents = posterior.mean
        if self.draws is not None:
            shape = (latents.shape[1], latents.shape[2], latents.shape[3])
            noise = self.draws.noise(sample_ids, shape, images.device)
            latents = latents + posterior.std * noise
        return self.scaling.applied(latents)

    def _identity_of(self, names: tuple[str, ...]) -> str:
        """Return class and scaling, and a hash of the weights whose names begin so."""
        options = {name: self._config.get(name) for name in _DECIDES}
        state = self.network.state_dict()
        weights = {name: each for name, each in state.items() if name.startswith(names)}
        content = f"{json.dumps(options, sort_keys=True)} {hash_of_weights(weights)}"
        digest = xxhash.xxh3_128_hexdigest(content.encode())
        return f"{type(self.network).__name__} {digest} {self.scaling.identity}"

    @property
    def _config(self) -> Any:
        return cast(Any, self.network).config

    @property
    def _images_at_a_time(self) -> int:
        shape = self.image_shape
        channels: int = self._config.block_out_channels[0]
        widest = channels * shape.height * shape.width
        return max(1, _WIDEST_BYTES // (4 * _WIDEST_TENSORS * widest))

    def _refuse_other_shape(self, images: Tensor) -> None:
        shape = self.image_shape
        if tuple(images.shape[1:]) != (shape.channels, shape.height, shape.width):
            raise ConfigurationError(
                f"images of {'x'.join(map(str, images.shape[1:]))}, and {shape} are encoded here",
                where=type(self.network).__name__,
                remedy=f"bring images to {shape}",
            )


def find_autoencoder(
    shape: ImageShape, found: ModelFolder, options: LoadingOptions, device: torch.device | str
) -> Autoencoder | None:
    """Return the autoencoder of a pipeline; None if it has none and images are noised themselves.

    Parameters
    ----------
    shape
        What the network takes.
    found
        Where the parts of the model lie.
    options
        Which latents are taken.
    device
        Where it runs.

    Raises
    ------
    ModelError
        If there are two, its class is another one, its latents have not the channels that the
        network takes, or its weights are not finite or not all there.
    ConfigurationError
        If latents are to be drawn, and there is nothing to draw them from.
    """
    part = _autoencoder_in(found)
    if part is not None:
        return _read(part, shape, options, device)
    if options.latents == "mode":
        return None
    raise ConfigurationError(
        "the model has no latents: it is trained on the images themselves",
        where=f"--latents {options.latents}",
        remedy="leave it out",
    )


def require_autoencoder(
    shape: ImageShape, found: ModelFolder, options: LoadingOptions, device: torch.device | str
) -> Autoencoder:
    """Return the autoencoder of a pipeline; parameters and refusals are `find_autoencoder`'s.

    Raises
    ------
    ModelError
        If there is none, too.
    """
    part = _autoencoder_in(found)
    if part is None:
        raise ModelError(
            f"a {found.class_name} takes latents, and there is no vae that makes them of images",
            where=found.named_by,
            remedy="give the pipeline folder, with the vae that the model was trained with, or as "
            "--base the one that a network alone was trained from",
        )
    return _read(part, shape, options, device)


def _autoencoder_in(found: ModelFolder) -> ModelPart | None:
    parts = [part for name, part in found.further.items() if name in AUTOENCODER_PARTS]
    if len(parts) > 1:
        raise ModelError(
            "has a vae and a vqvae, and one of them encodes images",
            where=found.named_by,
            remedy="remove the one that the model was not trained with",
        )
    return parts[0] if parts else None


def _read(
    part: ModelPart, shape: ImageShape, options: LoadingOptions, device: torch.device | str
) -> Autoencoder:
    """Return the autoencoder in a folder."""
    folder = part.folder
    if part.class_name not in _CLASSES:
        raise ModelError(
            f"of class {part.class_name}, which nothing is known of here",
            where=folder,
            remedy=f"give a pipeline with one of: {', '.join(_CLASSES)}",
        )
    read_config(folder / NETWORK_FILE, what="configuration of an autoencoder")
    draws = _draws(part, options)
    weights = find_weights(folder)
    outline = network_outline(part.class_name, folder)
    _refuse_other_channels(cast(Any, outline).config, shape, folder)
    network = load_network(outline, folder, weights, torch.float32)
    refuse_weights_not_finite(network, folder)
    return Autoencoder(
        network.to(device).eval().requires_grad_(False),
        shape,
        read_scaling(cast(Any, network).config, folder / NETWORK_FILE),
        draws,
        _half_precision_of(folder, weights),
    )


def _draws(part: ModelPart, options: LoadingOptions) -> LatentDraws | None:
    if options.latents == "mode":
        return None
    if part.class_name == "VQModel":
        raise ConfigurationError(
            "a VQModel gives one latent for an image, and no distribution to draw from",
            where=f"--latents {options.latents}",
            remedy="leave it out",
        )
    return LatentDraws(options.seed)


def _refuse_other_channels(config: Any, shape: ImageShape, folder: Path) -> None:
    channels = config.get("vq_embed_dim") or config.latent_channels
    if channels == shape.channels:
        return
    raise ModelError(
        f"VAE with other channels: its latents have {channels}, and the network takes "
        f"{shape.channels}",
        where=folder / NETWORK_FILE,
        remedy="give the vae that the model was trained with",
    )


def _half_precision_of(folder: Path, weights: WeightFiles) -> str:
    """Return the half-precision type that weights are kept in, if they are."""
    pattern = f"*.{weights.variant}*.safetensors" if weights.variant else "*.safetensors"
    for path in sorted(folder.glob(pattern)):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  # a file of this kind cannot be iterated
                kind = file.get_slice(name).get_dtype()
                if kind in _HALF:
                    return _HALF[kind]
    return ""
