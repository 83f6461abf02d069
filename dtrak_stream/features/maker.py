"""What every kind of feature has in common: samples go in, rows of a store come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from dtrak_stream.data.samples import Samples
from dtrak_stream.store import Fingerprint
from dtrak_stream.support.timing import StageTimer


class FeatureMaker(Protocol):
    """Turns samples into features.

    Attributes
    ----------
    batch_size
        Samples computed at a time. Halved whenever the device runs out of memory.
    """

    batch_size: int

    @property
    def timer(self) -> StageTimer:
        """Return what adds up the time of all stages."""

    @property
    def width(self) -> int:
        """Return how many numbers a sample becomes: k, times the number of stores."""

    def features(self, images: Tensor, sample_ids: Sequence[str]) -> Tensor:
        """Return the features of samples (B, C, H, W): (B, width) float32 on the CPU.

        Raises
        ------
        MemoryLimitError
            If the device has no room for one sample.
        """

    def residuals(self, images: Tensor, sample_ids: Sequence[str], /) -> Tensor | None:
        """Return the residuals of samples whose features were just computed.

        (B,) float32 on the CPU; None for features that have none.
        """

    def fingerprints(
        self, samples: Samples, dtype: str, rows_per_shard: int
    ) -> tuple[Fingerprint, ...]:
        """Return what the features of `samples` depend on, for each store they go to.

        Reads all samples' files once.
        """

    def close(self) -> None:
        """Leave the model as it was found."""


def fingerprint(
    identity: Mapping[str, object], samples: Samples, dtype: str, rows_per_shard: int
) -> Fingerprint:
    """Return the fingerprint of `samples` under what `identity` says of all other fields."""
    return Fingerprint(
        **identity,  # type: ignore[arg-type]
        images=samples.identity(),
        samples=len(samples),
        dtype=dtype,
        rows_per_shard=rows_per_shard,
    )


def in_fitting_batches(
    maker: FeatureMaker,
    compute: Callable[[Tensor, Sequence[str]], Tensor],
    shrink: Callable[[int, RuntimeError], None],
    images: Tensor,
    sample_ids: Sequence[str],
) -> Tensor:
    """Compute the rows of `images` (B, ...) in batches of `maker.batch_size`.

    Parameters
    ----------
    maker
        Its batch size is looked up before every batch.
    compute
        Returns (rows, width) for some of the images and ids.
    shrink
        Called with the number of images and the error when a batch runs out of memory; makes
        the next batch need less, or raises.
    images, sample_ids
        The samples.
    """
    done: list[Tensor] = []
    first = 0
    while first < len(images):
        rows = slice(first, first + maker.batch_size)
        try:
            done.append(compute(images[rows], sample_ids[rows]))
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            shrink(len(images[rows]), error)
            continue
        first = rows.stop
    return torch.cat(done)


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
