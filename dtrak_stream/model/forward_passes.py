"""How the networks of each family are asked: as the training scripts of diffusers call them."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from dtrak_stream.model.conditioning import CLASS_LABELS, NetworkInputs


def predict_by_unet(
    network: nn.Module, noisy: Tensor, times: Tensor, inputs: NetworkInputs
) -> Tensor:
    """Ask a `UNet2DModel`, with class labels (B,) where it has classes."""
    labels = inputs.get(CLASS_LABELS)
    return cast(Tensor, network(noisy, times, class_labels=labels, return_dict=False)[0])
