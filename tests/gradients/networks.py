"""Small networks of every layer kind in the shape of a denoiser, and their slow gradients."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import torch
from diffusers import DDPMScheduler
from torch import nn

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import ImageOrigin, SampleBatch
from dtrak_stream.gradients.coverage import served_parameters
from dtrak_stream.gradients.hooked import HookedEngine
from dtrak_stream.gradients.task import GradientTask
from dtrak_stream.gradients.timestep_batched import TimestepBatchedEngine
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.forward_passes import predict_by_unet
from dtrak_stream.model.schedule import DDPMSchedule, NoiseSchedule
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.objective.output_functions import OutputFunction


class Network(nn.Module):
    """Any layers that turn (B, C, H, W) into (B, C, H, W), called as a denoiser is."""

    def __init__(self, body: nn.Module, channels: int = 2, size: int = 6) -> None:
        super().__init__()
        self.body = body
        self.config = SimpleNamespace(sample_size=size, in_channels=channels)

    def forward(self, noisy, timesteps, class_labels=None, return_dict=False):  # noqa: ARG002
        return (self.body(noisy),)


class Timed(nn.Module):
    """Adds an embedding of the timestep, and works on tokens in between."""

    def __init__(self, channels: int, inside: nn.Module, *, padding_idx: int | None = None) -> None:
        super().__init__()
        self.table = nn.Embedding(1000, channels, padding_idx=padding_idx)
        self.time = nn.Linear(channels, channels)
        self.inside = inside

    def forward(self, noisy, timesteps):
        embedded = self.time(torch.sin(self.table(timesteps)))
        tokens = (noisy + embedded[:, :, None, None]).flatten(2).transpose(1, 2)
        return self.inside(tokens).transpose(1, 2).reshape(noisy.shape)


class TimedNetwork(Network):
    def forward(self, noisy, timesteps, class_labels=None, return_dict=False):  # noqa: ARG002
        return (self.body(noisy, timesteps),)


class Padded(nn.Module):
    """Looks rows of a table up by what the image holds: zeros find the row of padding."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(3, 1, padding_idx=0)
        nn.init.ones_(self.table.weight)

    def forward(self, x):
        return x * self.table((x > 0).long() * 2).squeeze(-1)


def task_of(
    network: nn.Module,
    *,
    timesteps=(0, 300, 999),
    name="square",
    wanted="",
    schedule: NoiseSchedule | None = None,
    **options,
) -> GradientTask:
    schedule = schedule or DDPMSchedule.of(DDPMScheduler())
    config = cast(Any, network).config
    shape = ImageShape(config.in_channels, config.sample_size, config.sample_size)
    denoiser = Denoiser(
        network.eval(), schedule, shape, predict_by_unet, type(network).__name__, "here"
    )
    for parameter_name, parameter in network.named_parameters():
        parameter.requires_grad_(wanted in parameter_name)
    chosen = {n: p for n, p in network.named_parameters() if wanted in n}
    options = {"noise": ImageNoise(0), **options}
    return GradientTask(
        denoiser, chosen, OutputFunction(name, schedule), tuple(timesteps), **options
    )


def images_of(task: GradientTask, count: int, seed: int = 0) -> torch.Tensor:
    shape = task.denoiser.image_shape
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, shape.channels, shape.height, shape.width, generator=generator) * 2 - 1


def batch_of(images: torch.Tensor, ids: list[str]) -> SampleBatch:
    return SampleBatch(tuple(ids[: len(images)]), images)


def flat_gradient(value: torch.Tensor, parameters: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the gradient of a number, one parameter after the other: (p,); zero where unused."""
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    parts = [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters)]
    return torch.cat([part.flatten() for part in parts])


def engine_called(
    kind: str, task: GradientTask, served: frozenset[str] | None = None
) -> HookedEngine | TimestepBatchedEngine:
    """Return an engine; the hooked one serves what it is found to serve unless told otherwise."""
    if kind == "hooked":
        return HookedEngine(task, served_parameters(task) if served is None else served, 8)
    return TimestepBatchedEngine(task)


def slow_gradients(task: GradientTask, images: torch.Tensor, ids: list[str]) -> torch.Tensor:
    """One float64 pass for each (sample, timestep, draw): (samples, p)."""
    network = copy.deepcopy(task.denoiser.network).double()
    network.requires_grad_(True)
    parameters = [dict(network.named_parameters())[name] for name in task.parameters]
    rows = []
    for image, sample_id in zip(images, ids):
        total = torch.zeros(task.num_parameters, dtype=torch.float64)
        for pair in task.pairs:
            batch = task.noised(batch_of(image[None], [sample_id]), (pair,))
            schedule = task.denoiser.schedule
            noise = task.noise.draw(
                image.shape, sample_id=sample_id, pairs=[pair], device=image.device
            )
            noisy, target = schedule.noisy_and_target(
                image[None].double(), noise.double(), batch.timesteps
            )
            output = network(noisy, batch.timesteps, return_dict=False)[0]
            value = task.output_function(output, target, batch.timesteps).sum()
            total += flat_gradient(value, parameters)
        rows.append(total / len(task.pairs))
    return torch.stack(rows)


def gathered(
    engine,
    images: torch.Tensor,
    ids: list[str],
    conditions: tuple[Any, ...] | None = None,
    origins: tuple[ImageOrigin, ...] | None = None,
) -> torch.Tensor:
    """Sum the slices of a stream into (samples, p)."""
    out = torch.zeros(len(images), engine.num_parameters)

    def receive(piece):
        rows = slice(piece.first_row, piece.first_row + piece.block.shape[0])
        assert piece.block.dtype == torch.float32
        out[rows, piece.offset : piece.offset + piece.block.shape[1]] += piece.block
        piece.block.fill_(float("nan"))  # receivers may overwrite it

    batch = SampleBatch(tuple(ids[: len(images)]), images, conditions, origins=origins)
    engine.stream(batch, receive)
    return out


def assert_rows_close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5):
    errors = (actual.double() - expected.double()).norm(dim=1)
    assert (errors <= tolerance * expected.double().norm(dim=1) + 1e-12).all(), errors
