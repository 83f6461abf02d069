"""What features are computed of, and some of it at a time on its way to the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

from dtrak_stream.data.options import ImageShape
from dtrak_stream.errors import BadImageError
from dtrak_stream.support.device import moved

Condition: TypeAlias = int | str
"""What one sample is of, before anything is made of it: a class label or a caption."""

ConditionKind: TypeAlias = Literal["nothing", "class label", "caption"]
"""What a model wants to be told of a sample: nothing, an int, or a str."""

CheckLabels: TypeAlias = Callable[[Sequence[Condition]], None]
"""Raises `ConfigurationError` if one of them is no label that a model knows."""


class ImageOrigin(NamedTuple):
    """What an image was before it was brought to the model's size, in pixels.

    Attributes
    ----------
    height, width
        Its size before it was resized.
    top, left
        The corner of what was cut out of it afterwards.
    """

    height: int
    width: int
    top: int = 0
    left: int = 0


@dataclass(frozen=True)
class SampleBatch:
    """Some samples in their order: what travels from decoding to the model.

    Attributes
    ----------
    ids
        Their names.
    tensors
        (B, C, H, W) float32: pixels in [-1, 1], or what the model made of them (latents); of
        sampling paths (B, T, C, H, W).
    conditions
        What each of them is of; None if samples are of nothing in particular.
    path
        The T timesteps of sampling paths, in the order of the second axis; None for images.
    inputs
        What a network is asked with besides x_t and t, each (B, ...): made by the model from
        `conditions`. None before that, and empty for a model that is told nothing.
    origins
        What each image was before it was brought to the model's size; None where that is not
        known, or samples are no images.
    """

    ids: tuple[str, ...]
    tensors: Tensor
    conditions: tuple[Condition, ...] | None = None
    path: tuple[int, ...] | None = None
    inputs: Mapping[str, Tensor] | None = None
    origins: tuple[ImageOrigin, ...] | None = None

    def __post_init__(self) -> None:
        conditions = self.ids if self.conditions is None else self.conditions
        origins = self.ids if self.origins is None else self.origins
        parts = (self.ids, self.tensors, conditions, origins, *(self.inputs or {}).values())
        axes = () if self.path is None else (len(self.path),)
        if len({len(part) for part in parts}) > 1 or self.tensors.shape[1:-3] != axes:
            raise ValueError(
                f"{len(self.ids)} ids, tensors {tuple(self.tensors.shape)}, "
                f"conditions {self.conditions} and path {self.path} are not of one batch"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: slice) -> SampleBatch:
        """Return some of the samples; their tensors are a view."""
        conditions = None if self.conditions is None else self.conditions[rows]
        origins = None if self.origins is None else self.origins[rows]
        return replace(
            self,
            ids=self.ids[rows],
            tensors=self.tensors[rows],
            conditions=conditions,
            origins=origins,
            inputs=None if self.inputs is None else {k: v[rows] for k, v in self.inputs.items()},
        )

    def to(self, device: torch.device) -> SampleBatch:
        """Return the same samples on a device, without waiting for it."""
        inputs = self.inputs
        return replace(
            self,
            tensors=moved(self.tensors, device),
            inputs=inputs and {name: moved(each, device) for name, each in inputs.items()},
        )


class Samples(Protocol):
    """Named tensors in a fixed order: the images of a source, or something made of them."""

    @property
    def shape(self) -> ImageShape:
        """Return the shape of an image."""

    @property
    def path(self) -> tuple[int, ...] | None:
        """Return the timesteps of the images that a sample has; None if it is one image."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def sample_id(self, index: int) -> str:
        """Return the name of sample `index`."""

    def sample_ids(self, start: int, stop: int) -> list[str]:
        """Return the names of samples [start, stop)."""

    def image(self, index: int) -> Tensor:
        """Return sample `index`; raise `BadImageError` if it is unusable.

        (C, H, W) float32 in [-1, 1], or (T, C, H, W) where there is a path. Several threads
        call it at once.
        """

    def image_and_origin(self, index: int) -> tuple[Tensor, ImageOrigin | None]:
        """Return the same, and what it was before it was brought to its size, if that is known."""

    def conditions(self, start: int, stop: int) -> Sequence[Condition] | None:
        """Return what samples [start, stop) are of; None if of nothing in particular."""

    def identity(self) -> str:
        """Return a hash of everything that decides the samples and their order."""

    def remarks(self) -> list[str]:
        """Return what is to be said of the samples read so far, in a sentence each."""

    def images_identity(self) -> str:
        """Return a hash of the images that the samples are, or are made of."""


def read_batch(samples: Samples, rows: range) -> tuple[SampleBatch, dict[int, str]]:
    """Read consecutive samples.

    Returns
    -------
    batch, reasons
        Those that are usable, and why each of the other rows is not.
    """
    tensors: list[Tensor] = []
    origins: list[ImageOrigin | None] = []
    reasons: dict[int, str] = {}
    for row in rows:
        try:
            tensor, origin = samples.image_and_origin(row)
        except BadImageError as error:
            reasons[row] = error.reason
        else:
            tensors.append(tensor)
            origins.append(origin)
    usable = [row - rows.start for row in rows if row not in reasons]
    ids = samples.sample_ids(rows.start, rows.stop)
    conditions = samples.conditions(rows.start, rows.stop)
    batch = SampleBatch(
        tuple(ids[place] for place in usable),
        torch.stack(tensors) if tensors else torch.empty(0, *size_of(samples)),
        None if conditions is None else tuple(conditions[place] for place in usable),
        samples.path,
        origins=_if_all_known(origins),
    )
    return batch, reasons


def _if_all_known(origins: Sequence[ImageOrigin | None]) -> tuple[ImageOrigin, ...] | None:
    known = tuple(each for each in origins if each is not None)
    return known if len(known) == len(origins) else None


def joined(batches: Sequence[SampleBatch]) -> SampleBatch:
    """Return the samples of several batches of one source as one batch, in their order."""
    conditions = [each.conditions for each in batches if each.conditions is not None]
    return replace(
        batches[0],
        ids=tuple(name for each in batches for name in each.ids),
        tensors=torch.cat([each.tensors for each in batches]),
        conditions=tuple(one for each in conditions for one in each) if conditions else None,
        origins=_if_all_known(
            [one for each in batches for one in each.origins or [None] * len(each)]
        ),
    )


def size_of(samples: Samples) -> tuple[int, ...]:
    """Return the size of one sample: (C, H, W), or (T, C, H, W) where there is a path."""
    shape = samples.shape
    image = (shape.channels, shape.height, shape.width)
    return image if samples.path is None else (len(samples.path), *image)
