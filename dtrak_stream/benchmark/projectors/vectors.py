"""The vectors that are projected, scaled to length 1: errors are relative to the lengths."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dtrak_stream.benchmark.projectors.options import ProjectorsConfig, VectorKind
from dtrak_stream.data.images import open_images
from dtrak_stream.data.samples import read_batch
from dtrak_stream.errors import ConfigurationError, InputError, MemoryLimitError
from dtrak_stream.features.gradient_features import make_featurizer
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.support.device import choose_device
from dtrak_stream.support.memory import format_size, usable_memory

_SEED = 0
_COPIES = 4  # as made, scaled, stacked, and the batch that a projector may overwrite


@dataclass(frozen=True)
class UnitVectors:
    """Vectors of one kind.

    Attributes
    ----------
    kind
        What they are.
    values
        (rows, p) float32, each row of length 1.
    """

    kind: VectorKind
    values: Tensor

    @property
    def num_parameters(self) -> int:
        """Return p."""
        return self.values.shape[1]


def make_vectors(config: ProjectorsConfig) -> list[UnitVectors]:
    """Return `config.rows` vectors of every kind asked for, all of one length p.

    Raises
    ------
    ConfigurationError
        If more entries are asked for than the model has parameters, or no kind of vector.
    MemoryLimitError
        If the vectors do not fit in memory.
    """
    if not config.vectors:
        raise ConfigurationError(
            "no kind of vector", where="--vectors", remedy="give gaussian or gradients"
        )
    device = choose_device(config.device)
    if config.num_parameters and "gradients" not in config.vectors:
        _refuse_what_cannot_fit(config, config.num_parameters)
        return [_scaled("gaussian", _gaussian(config.rows, config.num_parameters), device)]
    gradients = _gradients(config)
    made = {"gradients": gradients, "gaussian": _gaussian(*gradients.shape)}
    return [_scaled(kind, made[kind], device) for kind in config.vectors]


def _gaussian(rows: int, num_parameters: int) -> Tensor:
    return torch.randn(rows, num_parameters, generator=torch.Generator().manual_seed(_SEED))


def _gradients(config: ProjectorsConfig) -> Tensor:
    """Return real gradients (rows, p) float32, computed as features are but not projected."""
    options = FeatureOptions(
        output_function=config.output_function,
        timesteps=config.timesteps,
        projector="identity",
        device=config.device,
    )
    featurizer = make_featurizer(config.model, options)
    available = featurizer.projector.proj_dim  # p: nothing is projected
    num_parameters = _length(config, available)
    _refuse_what_cannot_fit(config, available)
    images = open_images(config.images, featurizer.image_shape, limit=config.rows, visible=False)
    if len(images) < config.rows:
        raise InputError(
            f"has {len(images):,} images, {config.rows:,} are wanted",
            where=config.images,
            remedy="give more images, or a lower --rows",
        )
    samples, bad = read_batch(images, range(config.rows))
    if bad:
        row, reason = next(iter(bad.items()))
        raise InputError(
            f"image {row} cannot be used ({reason})",
            where=config.images,
            remedy="give images that can all be read",
        )
    gradients = featurizer.features(samples)
    return gradients[:, :num_parameters].contiguous()


def _length(config: ProjectorsConfig, available: int) -> int:
    wanted = config.num_parameters or available
    if wanted > available:
        raise ConfigurationError(
            f"the gradients of this model have {available:,} entries",
            where=f"--num-parameters {wanted}",
            remedy="give a smaller number, a larger --model, or --vectors gaussian",
        )
    return wanted


def _scaled(kind: VectorKind, vectors: Tensor, device: torch.device) -> UnitVectors:
    lengths = torch.stack([row.double().norm() for row in vectors])[:, None]
    if not bool((lengths > 0).all()):
        raise InputError(
            "some have length 0 or hold NaN",
            where=f"{kind} vectors",
            remedy="give other --images, or leave --num-parameters out",
        )
    return UnitVectors(kind, (vectors / lengths.float()).to(device))


def _refuse_what_cannot_fit(config: ProjectorsConfig, num_parameters: int) -> None:
    needed = _COPIES * len(config.vectors) * config.rows * num_parameters * 4
    if needed > usable_memory():
        raise MemoryLimitError(
            f"the vectors need {format_size(needed)}, {format_size(usable_memory())} are there",
            where=f"--rows {config.rows}",
            remedy="lower --rows",
        )
