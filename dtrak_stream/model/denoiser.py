"""A model as attribution needs it: images and conditions go in, predictions come out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import ConditionKind, SampleBatch
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.model.conditioning import Conditioner, NetworkInputs
from dtrak_stream.model.first_stage import FirstStage
from dtrak_stream.model.own_pipeline import OwnPipeline
from dtrak_stream.model.schedule import NoiseSchedule

Predict: TypeAlias = Callable[[nn.Module, Tensor, Tensor, NetworkInputs], Tensor]
"""(network, x_t (B, C, H, W), time (B,), inputs) -> all it answers, (B, C or 2 C, H, W)."""


@dataclass(frozen=True)
class Denoiser:
    """A network and everything that has to be known to differentiate it.

    `load_denoiser` makes one from a folder. Any other network can be given from Python, with its
    schedule, the shape of its images and how it is asked: as `featurize(config, denoiser=...)` and
    `attribute(config, denoiser=...)`. It stays on the device it is on, and which of its parameters
    require gradients is set by the options. What it computes is known by `identity` and a hash of
    the network's weights: whoever changes the code of `predict_by` or of the network gives it
    another `class_name`.

    Attributes
    ----------
    network
        Any module, in evaluation mode. A buffer or parameter that decides an answer is in its
        state.
    schedule
        How noise enters, and what the network is trained to answer. Any object that does what
        `NoiseSchedule` says; its `identity` covers all of its numbers.
    image_shape
        Shape of the images it is trained on.
    predict_by
        How the network is asked. The network is an argument because it may be a compiled one.
    class_name
        What kind of network it is, for fingerprints: it stands for the code.
    folder
        Where it came from, for messages.
    scheduler_config
        Options of samplers under which they have the model's own schedule.
    learns_variance
        Whether the network answers twice as many channels as a sample has: its prediction, and
        the variance of a sampling step (Nichol and Dhariwal 2021).
    description
        What was found in the folder, in a line.
    first_stage
        Turns images into the latents that are noised; None where the pixels are.
    conditioner
        Turns class labels or captions into what the network is asked with; None where it is told
        nothing.
    pipeline
        Makes images of captions with it; None where `generation` does so itself.
    """

    network: nn.Module
    schedule: NoiseSchedule
    image_shape: ImageShape
    predict_by: Predict
    class_name: str
    folder: str = "given from Python"
    scheduler_config: dict[str, Any] = field(default_factory=dict)
    learns_variance: bool = False
    description: str = ""
    first_stage: FirstStage | None = None
    conditioner: Conditioner | None = None
    pipeline: OwnPipeline | None = None

    @property
    def identity(self) -> str:
        """Return what it is besides the network's weights, for fingerprints."""
        cut = " and a variance that is left out" if self.learns_variance else ""
        parts = [
            f"{kind} {part.identity}"
            for kind, part in (("latents", self.first_stage), ("told", self.conditioner))
            if part is not None
        ]
        return ", ".join([f"{self.class_name} {self.schedule.identity}{cut}", *parts])

    @property
    def sample_shape(self) -> ImageShape:
        """Return the shape of what is noised: images, or their latents."""
        return self.image_shape if self.first_stage is None else self.first_stage.sample_shape

    @property
    def conditioned_on(self) -> ConditionKind:
        """Return what it wants to be told of a sample."""
        return "nothing" if self.conditioner is None else self.conditioner.kind

    @property
    def device(self) -> torch.device:
        """Return the device that holds the parameters."""
        return next(self.network.parameters()).device

    @property
    def weight_bytes(self) -> int:
        """Return how many bytes of memory all weights take: also of what comes before it."""
        weights = sum(each.numel() * each.element_size() for each in self.network.parameters())
        parts = (self.first_stage, self.conditioner)
        return weights + sum(part.weight_bytes for part in parts if part is not None)

    @torch.no_grad()
    def encoded(self, samples: SampleBatch) -> SampleBatch:
        """Return samples as the network takes them; they are on the model's device.

        Their tensors are what is noised, and their `inputs` what the network is told. Of sampling
        paths the tensors are left as they are: a path is one of what is noised.

        Raises
        ------
        ConfigurationError
            If they have conditions and the model takes none, it takes some and they have none, or
            one of them is none that the model knows.
        """
        if samples.inputs is not None:
            return samples
        tensors = samples.tensors
        if self.first_stage is not None and samples.path is None:
            tensors = self.first_stage.latents(tensors, samples.ids)
        return replace(samples, tensors=tensors, inputs=self.inputs_of(samples))

    def inputs_of(self, samples: SampleBatch) -> NetworkInputs:
        """Return what the network is told of samples, on its device; raises as `encoded`."""
        if (samples.conditions is None) == (self.conditioner is None):
            if self.conditioner is None or samples.conditions is None:
                return {}
            return self.conditioner.inputs(samples.conditions, self.device, samples.origins)
        if self.conditioner is None:
            problem = f"the samples are of something ({(samples.conditions or ('',))[0]!r}), and "
            raise ConfigurationError(
                f"{problem}the model takes no condition",
                where=self.class_name,
                remedy="give samples without conditions",
            )
        raise ConfigurationError(
            f"the model wants a {self.conditioner.kind} of each sample, and they have none",
            where=self.class_name,
            remedy="give images with their captions or labels",
        )

    def remarks(self) -> list[str]:
        """Return what is to be said of the samples encoded so far, in a sentence each."""
        parts = (self.first_stage, self.conditioner)
        return [line for part in parts if part is not None for line in part.remarks()]

    def made_up(self, count: int) -> SampleBatch:
        """Return `count` samples to try the network with: zeros, encoded already, on its device."""
        shape, device = self.sample_shape, self.device
        tensors = torch.zeros(count, shape.channels, shape.height, shape.width, device=device)
        told = self.conditioner
        inputs = {} if told is None else told.inputs(told.made_up(count), device)
        ids = tuple(f"made up {number}" for number in range(count))
        return SampleBatch(ids, tensors, inputs=inputs)

    def predict(
        self, noisy: Tensor, timesteps: Tensor, inputs: NetworkInputs | None = None
    ) -> Tensor:
        """Return what the network predicts for x_t (B, C, H, W) at t (B,), told `inputs`.

        Returns
        -------
        Tensor
            (B, C, H, W): of a network that learns the variance too, the first half of its answer.

        Raises
        ------
        ConfigurationError
            If the network is to be told something, and is not.
        """
        answer = self.answer(noisy, timesteps, inputs)
        return answer[:, : noisy.shape[1]] if self.learns_variance else answer

    def answer(
        self, noisy: Tensor, timesteps: Tensor, inputs: NetworkInputs | None = None
    ) -> Tensor:
        """Return all the network says: what it predicts (B, C, H, W), or (B, 2 C, H, W) with the
        variance of a sampling step where it learns that; for samplers. Raises as `predict`.
        """
        if inputs is None and self.conditioner is not None:
            raise ConfigurationError(
                f"the network is to be told a {self.conditioner.kind}, and is not",
                where=self.class_name,
                remedy="ask it with the inputs of encoded samples (Denoiser.encoded)",
            )
        told = {
            name: each.to(noisy.dtype) if each.is_floating_point() else each
            for name, each in (inputs or {}).items()
        }
        return self.predict_by(self.network, noisy, self.schedule.network_times(timesteps), told)
