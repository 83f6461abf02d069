"""The shape of one image."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageShape:
    """What a model wants, or an image has: channels, height and width in pixels."""

    channels: int
    """Number of channels: 1 grayscale, 3 RGB."""
    height: int
    """Number of rows."""
    width: int
    """Number of columns."""

    def __str__(self) -> str:
        return f"{self.channels}x{self.height}x{self.width}"
