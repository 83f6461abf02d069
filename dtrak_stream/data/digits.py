"""The handwritten digits that come with scikit-learn, for demonstrations without a download."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from dtrak_stream.data.arrays import ArraySource

_HALF_OF_LARGEST = 8  # scikit-learn counts the ink from 0 to 16


def open_digits() -> ArraySource:
    """Open the 1,797 digits, 8x8 grayscale, ink 0 to 16 brought to [-1, 1]."""
    ink = load_digits().images  # (1797, 8, 8)
    images = (ink / _HALF_OF_LARGEST - 1).astype(np.float32)
    return ArraySource(images, where="sklearn:digits", key="digits")
