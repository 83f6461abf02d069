"""One optimiser step, and the state that carries a run from step to step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.nn import functional as F

from dtrak_stream.data.options import ImageShape
from dtrak_stream.errors import ConfigurationError, ModelError
from dtrak_stream.model.conditioning import NetworkInputs
from dtrak_stream.model.schedule import NoiseSchedule
from dtrak_stream.support.arithmetic import repeatable, repeating_if_it_can
from dtrak_stream.training.configuration import (
    ArchitectureOptions,
    NoiseScheduleOptions,
    OptimisationOptions,
)

Ask: TypeAlias = Callable[[Tensor, Tensor, NetworkInputs], Tensor]
"""(x_t (B, C, H, W), timesteps (B,), inputs) -> what the network predicts, (B, C, H, W)."""


class Optimisation:
    """Weights, AdamW, learning-rate schedule and (if asked for) averaged weights.

    Parameters
    ----------
    network
        On its device, in training mode. Those of its parameters move that require gradients.
    ask
        How it is asked.
    schedule
        The noise schedule it learns.
    options
        How the weights move.
    total_steps
        Length of the whole run: the learning rate reaches 0 there.
    """

    def __init__(
        self,
        network: nn.Module,
        ask: Ask,
        schedule: NoiseSchedule,
        options: OptimisationOptions,
        total_steps: int,
    ) -> None:
        self.moving = {
            name: each for name, each in network.named_parameters() if each.requires_grad
        }
        self.device = next(iter(self.moving.values())).device
        self.ask = ask
        self.schedule = schedule
        self.gradient_clip = options.gradient_clip
        self.losses: list[float] = []
        self.optimiser = torch.optim.AdamW(
            self.moving.values(),
            lr=options.learning_rate,
            betas=options.adam_betas,
            weight_decay=options.weight_decay,
            fused=True,  # one pass over each weight: 5 % of a step of a small network
        )
        self.learning_rate = get_cosine_schedule_with_warmup(
            self.optimiser, round(options.warmup_fraction * total_steps), total_steps
        )
        self.average = (
            EMAModel(self.moving.values(), decay=options.ema_decay) if options.ema else None
        )

    @property
    def steps_done(self) -> int:
        """Return the number of steps taken."""
        return len(self.losses)

    def step(
        self, images: Tensor, *, flip: bool, seed: int, inputs: NetworkInputs | None = None
    ) -> float:
        """Take one step on `images` (B, C, H, W) and return its loss, a mean over all elements.

        What the network is told of them are `inputs`, on its device. Flips, timesteps, noise and
        dropout come from torch's default generators, which this call seeds. All but dropout are
        drawn on the CPU, so that they do not depend on the device.

        Raises
        ------
        ModelError
            If the loss or its gradient is not finite; the weights are then as they were.
        """
        return repeating_if_it_can(lambda: self._seeded_step(images, flip, seed, inputs or {}))

    def skip(self) -> None:
        """Count a step that has no usable image; nothing moves."""
        self.losses.append(math.nan)

    def use_averaged_weights(self) -> None:
        """Put the averaged weights, if there are any, into the network."""
        if self.average is not None:
            self.average.copy_to(self.moving.values())

    def state(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        return {
            "network": {name: each.detach() for name, each in self.moving.items()},
            "optimiser": self.optimiser.state_dict(),
            "learning_rate": self.learning_rate.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "losses": torch.tensor(self.losses, dtype=torch.float64),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where `state` was taken."""
        with torch.no_grad():
            for name, weights in self.moving.items():
                weights.copy_(state["network"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.learning_rate.load_state_dict(state["learning_rate"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
            self.average.to(self.device)
        self.losses = state["losses"].tolist()

    def _seeded_step(self, images: Tensor, flip: bool, seed: int, inputs: NetworkInputs) -> float:
        torch.manual_seed(seed)
        # TF32 is accurate enough to learn with, and what torch trains with unless told otherwise
        with repeatable(self.device, tf32=True, backward=True):
            return self._step(images, flip, inputs)

    def _step(self, images: Tensor, flip: bool, inputs: NetworkInputs) -> float:
        noisy, target, timesteps = self._draw(images, flip)
        loss = F.mse_loss(self.ask(noisy, timesteps, inputs), target)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.moving.values(), self.gradient_clip)
        self._check_finite(loss.item(), norm.item())
        self.optimiser.step()
        if self.average is not None:
            self.average.step(self.moving.values())
        self.learning_rate.step()
        self.losses.append(loss.item())
        return self.losses[-1]

    def _draw(self, images: Tensor, flip: bool) -> tuple[Tensor, Tensor, Tensor]:
        if flip:
            mirrored = torch.rand(len(images), 1, 1, 1) < 0.5
            images = torch.where(mirrored, images.flip(-1), images)
        timesteps = torch.randint(self.schedule.num_timesteps, (len(images),))
        noise = torch.randn(images.shape)
        noisy, target = self.schedule.noisy_and_target(images, noise, timesteps)
        device = self.device
        return noisy.to(device), target.to(device), timesteps.to(device)

    def _check_finite(self, loss: float, gradient_norm: float) -> None:
        if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
            raise ModelError(
                f"training diverged: loss {loss}, gradient norm {gradient_norm}",
                where=f"step {self.steps_done + 1}",
                remedy="train into a new folder with a lower --learning-rate",
            )


def build_network(architecture: ArchitectureOptions, shape: ImageShape) -> UNet2DModel:
    """Return a UNet2DModel with fresh weights, drawn from torch's default generator.

    Every dropout layer is set by hand: the constructor's own option misses those of attention.

    Raises
    ------
    ConfigurationError
        If the images cannot be halved as often as the network has levels.
    """
    channels = architecture.block_out_channels
    _check_divisible(shape, 2 ** (len(channels) - 1))
    with_attention = [level in architecture.attention_levels for level in range(len(channels))]
    network = UNet2DModel(
        sample_size=shape.height if shape.height == shape.width else (shape.height, shape.width),
        in_channels=shape.channels,
        out_channels=shape.channels,
        block_out_channels=channels,
        layers_per_block=architecture.layers_per_block,
        down_block_types=tuple(_block("Down", attention) for attention in with_attention),
        up_block_types=tuple(_block("Up", attention) for attention in reversed(with_attention)),
        attention_head_dim=architecture.attention_head_dim,
        norm_num_groups=architecture.norm_num_groups,
        resnet_time_scale_shift=architecture.time_scale_shift,
    )
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = architecture.dropout
    return network


def build_scheduler(options: NoiseScheduleOptions) -> DDPMScheduler:
    """Return the DDPMScheduler that is saved with the model."""
    return DDPMScheduler(
        num_train_timesteps=options.num_train_timesteps,
        beta_schedule=options.beta_schedule,
        prediction_type=options.prediction_type,
    )


def _block(direction: str, attention: bool) -> str:
    return f"Attn{direction}Block2D" if attention else f"{direction}Block2D"


def _check_divisible(shape: ImageShape, factor: int) -> None:
    if shape.height % factor or shape.width % factor:
        raise ConfigurationError(
            f"images of {shape} cannot be halved as often as the network has levels",
            where="--block-out-channels",
            remedy=f"give fewer levels, or images whose sides are multiples of {factor}",
        )
