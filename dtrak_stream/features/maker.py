"""What every kind of feature has in common: samples go in, rows of a store come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import ConditionKind, SampleBatch, Samples
from dtrak_stream.errors import MemoryLimitError
from dtrak_stream.store.fingerprint import Fingerprint
from dtrak_stream.support.device import let_go
from dtrak_stream.support.memory import is_out_of_memory
from dtrak_stream.support.progress import say
from dtrak_stream.support.timing import StageTimer

EngineName: TypeAlias = Literal["hooked", "timestep-batched", "none"]


class FeatureMaker(Protocol):
    """Turns samples into features.

    Attributes
    ----------
    batch_size
        Samples computed at a time. Halved whenever the device runs out of memory.
    """

    batch_size: int

    @property
    def device(self) -> torch.device:
        """Return where it computes."""

    @property
    def wanted_shape(self) -> ImageShape | None:
        """Return the shape of the only samples it takes; None if it takes any."""

    @property
    def conditioned_on(self) -> ConditionKind:
        """Return what it wants to know of a sample besides its image."""

    @property
    def weight_bytes(self) -> int:
        """Return how many bytes of memory its weights take."""

    @property
    def engines(self) -> tuple[EngineName, ...]:
        """Return the gradient engines that may compute it, only `none` where it has no gradients.

        In the order in which they are worth a try.
        """

    @property
    def pairs(self) -> int:
        """Return how many (timestep, draw) pairs a sample goes through the model at."""

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Return the names of the parameters whose gradients are taken."""

    def served_parameters(self) -> frozenset[str]:
        """Return those of them that the layer rules of the hooked engine serve, found by trying."""

    @property
    def bytes_of_a_pair(self) -> int | None:
        """Return how many bytes of memory one pass keeps of each (sample, timestep, draw) triple.

        None if there is no room for one, and without gradients.
        """

    def pairs_that_fit(self) -> int | None:
        """Return how many (sample, timestep, draw) triples one pass has memory for; None without
        gradients.
        """

    def use_engine(
        self, name: EngineName, *, pairs_per_pass: int, served: frozenset[str], compiled: bool
    ) -> None:
        """Compute by one of `engines` from now on.

        Parameters
        ----------
        name
            Which.
        pairs_per_pass
            (sample, timestep, draw) triples in one pass of the model.
        served
            Parameters whose gradients layer rules give.
        compiled
            Whether the model runs through `torch.compile`.
        """

    @property
    def timer(self) -> StageTimer:
        """Return what adds up the time of all stages."""

    @property
    def width(self) -> int:
        """Return how many numbers a sample becomes: k, times the number of stores."""

    def features(self, samples: SampleBatch) -> Tensor:
        """Return the features of B samples: (B, width) float32 on the CPU.

        Raises
        ------
        MemoryLimitError
            If the device has no room for one sample.
        """

    def residuals(self, samples: SampleBatch, /) -> Tensor | None:
        """Return the residuals of samples whose features were just computed.

        (B,) float32 on the CPU; None for features that have none.
        """

    def fingerprints(
        self, samples: Samples, dtype: str, rows_per_shard: int
    ) -> tuple[Fingerprint, ...]:
        """Return what the features of `samples` depend on, for each store they go to.

        Reads all samples' files once.
        """

    def remarks(self) -> list[str]:
        """Return what is to be said of the samples met so far, in a sentence each."""

    def close(self) -> None:
        """Leave the model as it was found."""


class NothingDifferentiated:
    """What a maker says of parameters and engines that it has none of."""

    @property
    def engines(self) -> tuple[EngineName, ...]:
        """Return none: there are no gradients."""
        return ("none",)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Return none: no parameter is differentiated."""
        return ()

    def served_parameters(self) -> frozenset[str]:
        """Return none; see `FeatureMaker.served_parameters`."""
        return frozenset()

    def residuals(self, _samples: SampleBatch, /) -> None:
        """Return None: nothing says how wrong the model is."""


class WithoutGradients(NothingDifferentiated):
    """What a maker says that does not go by pairs through a model either."""

    @property
    def bytes_of_a_pair(self) -> None:
        """Return None; see `FeatureMaker.bytes_of_a_pair`."""

    def pairs_that_fit(self) -> None:
        """Return None; see `FeatureMaker.pairs_that_fit`."""

    def use_engine(
        self, name: EngineName, *, pairs_per_pass: int, served: frozenset[str], compiled: bool
    ) -> None:
        """Do nothing: there is one way to compute them."""

    def close(self) -> None:
        """Do nothing: there is nothing to leave as it was."""


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


class Shrinkable(Protocol):
    """What computes rows in batches, and can do with smaller ones.

    Attributes
    ----------
    batch_size
        Samples computed at a time.
    """

    batch_size: int

    @property
    def device(self) -> torch.device:
        """Return where it computes."""

    @property
    def smallest_batch(self) -> str:
        """Return, for the user, what cannot be cut any further."""

    def shrink(self, tried: int) -> bool:
        """Make batches need less than one of `tried` samples did; return whether that can be."""


def in_fitting_batches(
    maker: Shrinkable,
    compute: Callable[[SampleBatch], Tensor],
    samples: SampleBatch,
) -> Tensor:
    """Compute the rows of samples in batches that the device has room for.

    Parameters
    ----------
    maker
        Its batch size is looked up before every batch. It shrinks whenever one runs out of memory.
    compute
        Returns (rows, width) for some of the samples.
    samples
        All of them.

    Raises
    ------
    MemoryLimitError
        If the smallest batch does not fit.
    """
    done: list[Tensor] = []
    first = 0
    while first < len(samples):
        batch = samples[first : first + maker.batch_size]
        try:
            done.append(compute(batch))
            first += len(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            _shrink(maker, len(batch), error)
    return torch.cat(done)


def _shrink(maker: Shrinkable, tried: int, error: Exception) -> None:
    let_go(error, maker.device)
    if not maker.shrink(tried):
        raise MemoryLimitError(
            f"{maker.smallest_batch} does not fit in the memory of the device",
            where=f"--device {maker.device}",
            remedy="free its memory, or use a smaller --proj-dim, fewer --parameters of a model "
            "or --device cpu",
        ) from error
    say(f"out of memory: going on with batches of {maker.batch_size}")
