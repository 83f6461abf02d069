"""Batches of samples: what belongs to a sample stays with it."""

from __future__ import annotations

import pytest
import torch

from dtrak_stream.data.images import open_images
from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import SampleBatch, read_batch, size_of
from dtrak_stream.errors import BadImageError
from tests.small_jobs import random_pixels, save_images, spoil


class Labelled:
    """Six constant images with captions, two of them bad."""

    shape = ImageShape(1, 2, 3)
    path = None

    def __len__(self):
        return 6

    def sample_id(self, index):
        return f"image {index}"

    def sample_ids(self, start, stop):
        return [self.sample_id(index) for index in range(start, stop)]

    def conditions(self, start, stop):
        return [f"caption {index}" for index in range(start, stop)]

    def image(self, index):
        if index in (2, 5):
            raise BadImageError(f"{index} is bad")
        return torch.full((1, 2, 3), float(index))

    def image_and_origin(self, index):
        return self.image(index), None

    def identity(self):
        return "labelled"

    def remarks(self):
        return []

    def images_identity(self):
        return self.identity()


def numbers_of(batch):
    return batch.tensors[:, 0, 0, 0].tolist()


def test_what_belongs_to_a_sample_is_read_with_it_past_bad_ones():
    batch, reasons = read_batch(Labelled(), range(1, 6))
    assert reasons == {2: "2 is bad", 5: "5 is bad"}
    assert batch.ids == ("image 1", "image 3", "image 4")
    assert batch.conditions == ("caption 1", "caption 3", "caption 4")
    assert numbers_of(batch) == [1, 3, 4]


def test_some_rows_of_a_batch_keep_what_belongs_to_them():
    batch, _ = read_batch(Labelled(), range(6))
    some = batch[1:3]
    assert (some.ids, some.conditions) == (("image 1", "image 3"), ("caption 1", "caption 3"))
    assert numbers_of(some) == [1, 3]
    assert len(some) == 2
    moved = some.to(torch.device("meta"))
    assert (moved.ids, moved.conditions) == (some.ids, some.conditions)
    assert moved.tensors.device.type == "meta"


def test_rows_that_are_all_bad_give_an_empty_batch():
    batch, reasons = read_batch(Labelled(), range(5, 6))
    assert (len(batch), batch.ids, tuple(batch.tensors.shape)) == (0, (), (0, 1, 2, 3))
    assert list(reasons) == [5]


def test_images_of_a_source_are_of_nothing(tmp_path):
    folder = save_images(tmp_path / "images", random_pixels(3))
    spoil(folder / "001.png")
    images = open_images(str(folder), visible=False)
    batch, reasons = read_batch(images, range(3))
    assert (batch.conditions, batch.path) == (None, None)
    assert batch.ids == ("000.png", "002.png")
    assert list(reasons) == [1]
    assert torch.equal(batch.tensors[1], images.image(2))
    assert size_of(images) == tuple(images.image(0).shape)


@pytest.mark.parametrize(
    "parts",
    [
        {"ids": ("a",)},
        {"conditions": (1,)},
        {"path": (0, 500)},
        {"tensors": torch.zeros(2, 3, 1, 4, 4)},
        {"tensors": torch.zeros(2, 3, 1, 4, 4), "path": (0, 500)},
    ],
)
def test_parts_of_different_batches_are_refused(parts):
    whole = {"ids": ("a", "b"), "tensors": torch.zeros(2, 1, 4, 4)}
    with pytest.raises(ValueError, match="not of one batch"):
        SampleBatch(**{**whole, **parts})
