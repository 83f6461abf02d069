"""Random subsets of the training images: a pure function of (seed, subset number, image number)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray

from dtrak_stream.data.npy_files import read_npy
from dtrak_stream.errors import ConfigurationError, InputError
from dtrak_stream.support.random_bits import StreamKey, random_words

_WORD_BITS = 31  # two halves of 31 bits make one non-negative int64

Mask = NDArray[np.bool_]


def subset_size(count: int, alpha: float) -> int:
    """Return the number of images in a subset: the share `alpha` of `count`, rounded.

    Raises
    ------
    ConfigurationError
        If that leaves no image in, or none out.
    """
    size = round(alpha * count) if 0 < alpha < 1 else 0
    if not 0 < size < count:
        raise ConfigurationError(
            f"leaves {size} of {count} images",
            where=f"--alpha {alpha}",
            remedy="give a share between 0 and 1, such as 0.5",
        )
    return size


def draw_subset(
    count: int, size: int, *, seed: int, number: int, strata: NDArray[np.int64] | None = None
) -> Mask:
    """Draw a subset, uniform among all of its size (within each stratum, if there are any).

    Every image has a random number of its own, and those with the smallest are in. So a subset
    does not depend on how many are drawn, nor on what draws it.

    Parameters
    ----------
    count, size
        N, and the number of images in the subset.
    seed, number
        Which subset.
    strata
        (N,) class of each image: every class keeps its share, to within one image.

    Returns
    -------
    Mask
        (N,) bool, `size` of them True.
    """
    keys = _keys(count, seed, number)
    mask = np.zeros(count, dtype=np.bool_)
    groups = np.zeros(count, np.int64) if strata is None else strata
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    for places, share in zip(members, _quotas(members, size, count), strict=True):
        chosen = np.argsort(keys[places], kind="stable")[:share]
        mask[places[chosen]] = True
    return mask


def read_strata(path: Path | None, count: int) -> NDArray[np.int64] | None:
    """Read the class of each image from a .npy file of whole numbers or words.

    Raises
    ------
    InputError
        If the file cannot be read or does not hold one class for each image.
    """
    if path is None:
        return None
    labels = read_npy(path, holds="classes")
    if labels.shape != (count,) or labels.dtype.kind not in "iubSU":
        raise InputError(
            "does not hold one class for each training image",
            where=path,
            remedy=f"save {count} whole numbers or words, in the order of the images",
        )
    _, strata = np.unique(labels, return_inverse=True)
    return strata.astype(np.int64)


def strata_hash(strata: NDArray[np.int64] | None) -> str | None:
    """Return what tells one stratification from another; None for none."""
    return None if strata is None else xxhash.xxh3_64_hexdigest(strata.astype("<i8").tobytes())


def _keys(count: int, seed: int, number: int) -> NDArray[np.int64]:
    words = random_words(StreamKey("subset", seed), (torch.arange(count), number, 0, 0))
    keys = (words[:, 0] >> 1) << _WORD_BITS | words[:, 1] >> 1  # (N, 4) -> (N,)
    return np.asarray(keys.numpy(), dtype=np.int64)


def _quotas(members: list[NDArray[np.int64]], size: int, count: int) -> list[int]:
    """Share `size` out in proportion; what rounding leaves goes to the largest remainders."""
    exact = [len(places) * size / count for places in members]
    quotas = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (quotas[i] - exact[i], i))
    for i in by_remainder[: size - sum(quotas)]:
        quotas[i] += 1
    return quotas
