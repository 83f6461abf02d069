"""From images to stored rows of activations: a forward pass and a map to rows, within memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import ConditionKind, SampleBatch, Samples
from dtrak_stream.features.activations import Activations
from dtrak_stream.features.bandwidth import median_bandwidth
from dtrak_stream.features.gradient_features import model_identity
from dtrak_stream.features.maker import (
    WithoutGradients,
    fingerprint,
    in_fitting_batches,
)
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.features.vector_maps import VectorMap, map_to_rows
from dtrak_stream.model.conditioning import Conditioner
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.first_stage import FirstStage
from dtrak_stream.store.fingerprint import Fingerprint
from dtrak_stream.support.arithmetic import repeatable
from dtrak_stream.support.timing import StageTimer


@dataclass
class ActivationFeaturizer(WithoutGradients):
    """Turns images into features of what a module of the network says; a `FeatureMaker`.

    Attributes
    ----------
    activations
        What it says.
    options
        What a feature is.
    rows
        Maps that to a feature; None before `with_rows`.
    batch_size
        Images computed at a time. Halved whenever the device runs out of memory.
    first_stage, conditioner
        What encodes images and reads conditions in place of the model's own.
    """

    activations: Activations
    options: FeatureOptions
    rows: VectorMap | None = None
    batch_size: int = 0
    first_stage: FirstStage | None = None
    conditioner: Conditioner | None = None
    smallest_batch: ClassVar[str] = "one image at one timestep"

    def __post_init__(self) -> None:
        self.batch_size = self.batch_size or self.activations.samples_at_a_time

    def with_rows(
        self, samples: Samples, bandwidth: float | None, *, visible: bool
    ) -> ActivationFeaturizer:
        """Return the same with its map to rows.

        Parameters
        ----------
        samples
            The images. Some are looked at where Fourier features are wanted and their bandwidth
            is neither given nor in the options.
        bandwidth
            That of Fourier features, where it was found before.
        visible
            Whether to show a progress bar.

        Raises
        ------
        ConfigurationError
            If an option has no such value.
        InputError
            If the images tell no bandwidth.
        """
        rows = map_to_rows(
            self.activations.length,
            self.options,
            default="sketch",
            bandwidth=bandwidth,
            find_bandwidth=lambda short: self._bandwidth_of(samples, short, visible=visible),
        )
        return replace(self, rows=rows)

    def serves(self, bandwidth: float | None) -> bool:
        """Return whether its features have this bandwidth."""
        return self._rows.identity().get("bandwidth") == bandwidth

    def reading(
        self, first_stage: FirstStage | None, conditioner: Conditioner | None
    ) -> ActivationFeaturizer:
        """Return the same with what encodes images and conditions, None for the model's own."""
        return replace(self, first_stage=first_stage, conditioner=conditioner)

    @property
    def denoiser(self) -> Denoiser:
        """Return the model."""
        return self.activations.task.denoiser

    @property
    def device(self) -> torch.device:
        """Return where it computes."""
        return self.denoiser.device

    @property
    def wanted_shape(self) -> ImageShape:
        """Return the shape of the images that the model takes."""
        return self.denoiser.image_shape

    @property
    def conditioned_on(self) -> ConditionKind:
        """Return what the model wants to be told of a sample."""
        return self.denoiser.conditioned_on

    @property
    def weight_bytes(self) -> int:
        """Return how many bytes of memory the weights of the whole model take."""
        return self.denoiser.weight_bytes

    @property
    def pairs(self) -> int:
        """Return how many (timestep, draw) pairs activations are averaged over."""
        return len(self.activations.task.pairs)

    @property
    def timer(self) -> StageTimer:
        """Return what adds up the time of all stages."""
        return self.activations.task.timer

    @property
    def width(self) -> int:
        """Return k, the length of a feature."""
        return self._rows.width

    def features(self, samples: SampleBatch) -> Tensor:
        """Return the features of B samples: (B, k) float32 on the CPU.

        Raises
        ------
        MemoryLimitError
            If the device has no room for one image at one timestep.
        """
        return self._in_batches(self._rows, samples)

    def fingerprints(
        self, samples: Samples, dtype: str, rows_per_shard: int
    ) -> tuple[Fingerprint, ...]:
        """Return what the features depend on; see `FeatureMaker.fingerprints`."""
        identity = {
            **model_identity(self.activations.task, self.options),
            "parameters": "none",
            "num_parameters": self.activations.length,
            "output_function": self._rows.name_of(self.activations.name),
            **self._rows.identity(),
            # of the noise, too, where the map to rows has none
            "seed": self.options.seed,
        }
        return (fingerprint(identity, samples, dtype, rows_per_shard),)

    def remarks(self) -> list[str]:
        """Return what the model has to say of the samples met so far."""
        return self._encoder.remarks()

    def shrink(self, tried: int) -> bool:
        """Take smaller batches from now on, and fewer timesteps at a time."""
        pairs = self.activations.pairs_per_pass
        if tried == pairs == 1:
            return False
        self.batch_size = max(1, tried // 2)
        self.activations = replace(self.activations, pairs_per_pass=max(1, pairs // 2))
        return True

    @property
    def _rows(self) -> VectorMap:
        assert self.rows is not None
        return self.rows

    @property
    def _encoder(self) -> Denoiser:
        """Return the model with what images and conditions go through here."""
        own = self.denoiser
        return replace(
            own,
            first_stage=self.first_stage or own.first_stage,
            conditioner=self.conditioner or own.conditioner,
        )

    def _bandwidth_of(self, samples: Samples, short: VectorMap, *, visible: bool) -> float:
        def vectors(batch: SampleBatch) -> Tensor:
            return self._in_batches(short, batch)

        seed, together = self.options.seed, self.batch_size
        return median_bandwidth(samples, vectors, seed, together=together, visible=visible)

    def _in_batches(self, rows: Callable[[Tensor], Tensor], samples: SampleBatch) -> Tensor:
        def compute(batch: SampleBatch) -> Tensor:
            return self._batch(rows, batch)

        return in_fitting_batches(self, compute, samples)

    def _batch(self, rows: Callable[[Tensor], Tensor], samples: SampleBatch) -> Tensor:
        with self.timer.stage("copy"):
            samples = samples.to(self.device)
        with self.timer.stage("encode"):
            samples = self._encoder.encoded(samples)
        said = self.activations.of(samples)  # (B, length)
        with self.timer.stage("projection"), repeatable(self.device):
            out = rows(said)  # (B, length) -> (B, k)
        with self.timer.stage("copy"):
            return out.cpu()
