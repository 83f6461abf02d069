"""What is differentiated: f of noised images, averaged over (timestep, draw) pairs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product

import torch
from torch import Tensor, nn

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.gradients.saved_bytes import bytes_saved
from dtrak_stream.gradients.stream import GradientSlice, Receiver
from dtrak_stream.model.conditioning import NetworkInputs
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.half_precision import autocast_to
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.objective.output_functions import OutputFunction
from dtrak_stream.support.arithmetic import repeatable
from dtrak_stream.support.device import on_device
from dtrak_stream.support.timing import StageTimer

Pairs = tuple[tuple[int, int], ...]

_SHARED_NOISE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class NoisedBatch:
    """Samples times pairs as one batch for the denoiser; row = sample x pairs + pair.

    Attributes
    ----------
    noisy, target
        (samples * pairs, C, H, W): x_t, and what the denoiser should answer.
    timesteps
        (samples * pairs,) int64.
    inputs
        What the network is told of each row, (samples * pairs, ...).
    """

    noisy: Tensor
    target: Tensor
    timesteps: Tensor
    inputs: NetworkInputs


@dataclass
class LossScale:
    """What f is multiplied by before the backward pass, and gradients are divided by after it.

    In float16, gradients below 6e-8 vanish and those above 65,504 overflow.

    Attributes
    ----------
    value
        A power of two.
    """

    value: float = 1.0

    @classmethod
    def for_precision(cls, precision: str, shape: ImageShape) -> LossScale:
        """Return the scale to begin with: for float16, one that brings the first gradients to 1.

        f is a mean over the numbers of an image, so its gradient is about one over their count.
        """
        numbers = shape.channels * shape.height * shape.width
        return cls(2.0 ** math.ceil(math.log2(numbers)) if precision == "float16" else 1.0)


@dataclass(frozen=True)
class GradientTask:
    """The function whose per-sample gradients are wanted, and the parameters they are taken of.

    Attributes
    ----------
    denoiser
        The model, in evaluation mode.
    parameters
        Name to parameter: the order of the flat gradient.
    output_function, timesteps, noise, noise_draws
        What is differentiated, where, under which noise, with how many draws a timestep.
    more_functions
        Further functions of the same output. Their gradients come after that of the first, as if
        the network had its parameters again for each of them.
    unit_gradients
        Whether the gradient at each (timestep, draw) pair is divided by its Euclidean length
        before the average over pairs.
    autocast
        Half-precision type the network runs in under autocast; None for the network's own.
    tf32
        Whether a GPU may cut the factors of float32 products to 11 bits.
    scale
        Loss scale, other than 1 for float16 only.
    timer
        Told how long noise, forward and backward passes take.
    """

    denoiser: Denoiser
    parameters: dict[str, nn.Parameter]
    output_function: OutputFunction
    timesteps: tuple[int, ...]
    noise: ImageNoise
    noise_draws: int = 1
    more_functions: tuple[OutputFunction, ...] = ()
    unit_gradients: bool = False
    autocast: torch.dtype | None = None
    tf32: bool = False
    scale: LossScale = field(default_factory=LossScale)
    timer: StageTimer = field(default_factory=StageTimer, repr=False)
    _shared_noise: dict[Pairs, Tensor] = field(default_factory=dict, init=False, repr=False)

    @property
    def num_parameters(self) -> int:
        """Return p, the length of one sample's gradient of one function."""
        return sum(parameter.numel() for parameter in self.parameters.values())

    @property
    def num_gradients(self) -> int:
        """Return J * p: the gradients of J functions lie side by side, function j at j * p."""
        return len(self.output_functions) * self.num_parameters

    @property
    def pairs(self) -> Pairs:
        """Return all (timestep, draw) pairs that f is averaged over."""
        return tuple(product(self.timesteps, range(self.noise_draws)))

    @property
    def output_functions(self) -> tuple[OutputFunction, ...]:
        """Return all functions that are differentiated."""
        return (self.output_function, *self.more_functions)

    @property
    def share(self) -> float:
        """Return what f at one pair counts: the loss scale over the number of pairs."""
        return self.scale.value / len(self.pairs)

    @cached_property
    def bytes_of_a_pair(self) -> int:
        """Return how many bytes a pass keeps of each (sample, timestep, draw), found by trying."""
        one = GradientTask(
            self.denoiser,
            self.parameters,
            self.output_function,
            self.timesteps[:1],
            self.noise,
            autocast=self.autocast,
        )

        def forward() -> Tensor:
            batch = one.noised(one.denoiser.made_up(1), one.pairs)
            return one.values(one.output(batch), batch)

        return bytes_saved(forward, self.denoiser.network)

    def offsets(self) -> dict[str, int]:
        """Return the place of each parameter in the flat gradient."""
        places, offset = {}, 0
        for name, parameter in self.parameters.items():
            places[name] = offset
            offset += parameter.numel()
        return places

    def passes(self, pairs_per_pass: int) -> Iterator[Pairs]:
        """Yield the pairs in groups of at most `pairs_per_pass`."""
        pairs = self.pairs
        for start in range(0, len(pairs), pairs_per_pass):
            yield pairs[start : start + pairs_per_pass]

    def noised(self, samples: SampleBatch, pairs: Pairs) -> NoisedBatch:
        """Mix B samples, encoded or not yet, with their noise at every pair."""
        reference = next(iter(self.parameters.values()))
        device, dtype = reference.device, reference.dtype
        with self.timer.stage("noise"):
            timesteps = on_device([t for t, _ in pairs], device).repeat(len(samples))
            samples = self.denoiser.encoded(samples.to(device))
            images = self.at_pairs(samples, pairs).to(dtype)
            noise = self._noise(images, samples.ids, pairs).to(dtype)  # (B * pairs, C, H, W)
            noisy, target = self.denoiser.schedule.noisy_and_target(images, noise, timesteps)
        return NoisedBatch(noisy, target, timesteps, _repeated(samples.inputs or {}, len(pairs)))

    def at_pairs(self, samples: SampleBatch, pairs: Pairs) -> Tensor:
        """Return the image that is noised for each sample and pair: (B * pairs, C, H, W)."""
        return samples.tensors.repeat_interleave(len(pairs), dim=0)

    def output(self, batch: NoisedBatch) -> Tensor:
        """Return what the network answers, (samples * pairs, C, H, W), with its graph."""
        half, device = self.autocast, self.denoiser.device
        with self.timer.stage("forward"), autocast_to(half, device):
            output = self.denoiser.predict(batch.noisy, batch.timesteps, batch.inputs)
        return output.to(batch.target.dtype)

    def values(self, output: Tensor, batch: NoisedBatch) -> Tensor:
        """Return share * f for every function and row: (functions, samples * pairs).

        Summed over rows, the gradient that reaches a sample's rows is that of its own mean over
        pairs.
        """
        with self.timer.stage("forward"):
            values = [f(output, batch.target, batch.timesteps) for f in self.output_functions]
            return torch.stack(values) * self.share

    def unscaled(self, receive: Receiver) -> Receiver:
        """Return a receiver that undoes the loss scale before it hands on to `receive`."""
        factor = 1 / self.scale.value
        if factor == 1:
            return receive

        def receive_scaled(piece: GradientSlice) -> None:
            receive(replace(piece, block=piece.block * factor))

        return receive_scaled

    def arithmetic(self) -> AbstractContextManager[None]:
        """Return within what all of it is computed, so that a GPU gives the same bits each time."""
        return repeatable(self.denoiser.device, tf32=self.tf32, backward=True)

    def _noise(self, images: Tensor, sample_ids: Sequence[str], pairs: Pairs) -> Tensor:
        """Return the noise for images (B * pairs, C, H, W), as many numbers in float32."""
        _, channels, height, width = images.shape
        shape = (channels, height, width)
        if self.noise.keying == "shared":
            return self._shared(shape, pairs).repeat(len(images) // len(pairs), 1, 1, 1)
        device = self.denoiser.device
        noise = self.noise.draws(shape, sample_ids=sample_ids, pairs=pairs, device=device)
        return noise.flatten(0, 1)  # (B, pairs, C, H, W) -> (B * pairs, C, H, W)

    def _shared(self, shape: tuple[int, int, int], pairs: Pairs) -> Tensor:
        """Return the noise that all samples share, (pairs, C, H, W), kept if there is room."""
        kept = self._shared_noise.get(pairs)
        if kept is not None:
            return kept
        noise = self.noise.draw(shape, sample_id="", pairs=pairs, device=self.denoiser.device)
        if sum(each.nbytes for each in self._shared_noise.values()) + noise.nbytes <= (
            _SHARED_NOISE_BYTES
        ):
            self._shared_noise[pairs] = noise
        return noise


@dataclass(frozen=True)
class TrajectoryTask(GradientTask):
    """A task whose samples are sampling paths: an image of their own for every timestep.

    Attributes
    ----------
    summed_draws
        Whether draws of the noise are summed instead of averaged.
    """

    summed_draws: bool = False

    @property
    def share(self) -> float:
        """Return what f at one pair counts."""
        draws = 1 if self.summed_draws else self.noise_draws
        return self.scale.value / (len(self.timesteps) * draws)

    def at_pairs(self, samples: SampleBatch, pairs: Pairs) -> Tensor:
        """Return the image of each sample at the timestep of each pair: (B * pairs, C, H, W)."""
        if samples.path is None:
            raise ValueError("these samples are no sampling paths")
        places = [samples.path.index(timestep) for timestep, _ in pairs]
        # (B, T, C, H, W) -> (B, pairs, C, H, W) -> (B * pairs, C, H, W)
        chosen = samples.tensors.index_select(1, on_device(places, samples.tensors.device))
        return chosen.flatten(0, 1)


def _repeated(inputs: NetworkInputs, times: int) -> NetworkInputs:
    """Return what the network is told of each row, for so many rows a sample."""
    return {name: each.repeat_interleave(times, dim=0) for name, each in inputs.items()}


def inverse_length(length: Tensor, share: float) -> Tensor:
    """Return share / length; 0 for a gradient of length 0, NaN for one that is not finite."""
    inverse = torch.where(length == 0, 0.0, share / length)
    return torch.where(length.isfinite(), inverse, torch.nan)
