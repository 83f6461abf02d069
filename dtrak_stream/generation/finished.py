"""Images as they leave a sampler: finite, within [-1, 1], on the host."""

from __future__ import annotations

from torch import Tensor

from dtrak_stream.errors import ModelError


def finished(images: Tensor, made_by: str) -> Tensor:
    """Return images (B, C, H, W) cut to [-1, 1], on the CPU.

    Parameters
    ----------
    images
        As a network or an autoencoder gives them.
    made_by
        The model, for the refusal.

    Raises
    ------
    ModelError
        If a number is not finite.
    """
    if bool(images.isfinite().all()):
        return images.clamp(-1, 1).cpu()
    raise ModelError(
        "gives images that are not finite",
        where=made_by,
        remedy="train it again with a lower learning rate, or check its weights",
    )
