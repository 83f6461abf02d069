"""The network and noise schedule that a configuration asks for."""

from __future__ import annotations

from diffusers import DDPMScheduler, UNet2DModel
from torch import nn

from dtrak_stream.data import ImageShape
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.training.configuration import ArchitectureOptions, NoiseScheduleOptions


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
