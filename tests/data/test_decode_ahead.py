"""Decoding beside the model: the same batches in order, by several threads, within bounds."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import datasets
import h5py
import numpy as np
import pytest
import torch

from dtrak_stream.data.decode_ahead import decode_ahead
from dtrak_stream.data.images import open_images
from dtrak_stream.data.options import ImageShape
from dtrak_stream.errors import BadImageError
from dtrak_stream.support.timing import StageTimer
from tests.small_jobs import random_pixels, save_images


class Rows:
    """Samples whose numbers are their row; `meanwhile` is called with each row that is read."""

    shape = ImageShape(1, 2, 2)
    path = None

    def __init__(self, count, meanwhile=lambda _: None):
        self.count, self.meanwhile = count, meanwhile
        self.begun: list[int] = []

    def __len__(self):
        return self.count

    def sample_id(self, index):
        return f"row {index}"

    def sample_ids(self, start, stop):
        return [self.sample_id(index) for index in range(start, stop)]

    def image(self, index):
        self.begun.append(index)
        self.meanwhile(index)
        return torch.full((1, 2, 2), float(index))

    def conditions(self, start, stop):
        return list(range(start, stop))

    def image_and_origin(self, index):
        return self.image(index), None

    def identity(self):
        return "rows"

    def remarks(self):
        return []

    def images_identity(self):
        return self.identity()


def in_batches(count, size):
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def decoded(samples, size, threads=4):
    batches = in_batches(len(samples), size)
    return list(decode_ahead(samples, batches, StageTimer(), threads=threads))


@pytest.mark.parametrize("size", [1, 3, 16, 50])
def test_batches_come_in_order_however_long_each_image_takes(size):
    chance = random.Random(0)
    samples = Rows(37, lambda _: time.sleep(chance.random() / 500))
    batches = decoded(samples, size)
    assert [batch.rows for batch in batches] == in_batches(37, size)
    for batch in batches:
        assert batch.places == list(batch.rows)
        assert batch.samples.ids == tuple(f"row {row}" for row in batch.rows)
        assert batch.samples.conditions == tuple(batch.rows)
        assert batch.samples.tensors[:, 0, 0, 0].tolist() == list(batch.rows)


@pytest.mark.parametrize("size", [1, 4, 8])
def test_all_threads_decode_at_once_even_where_batches_are_small(size):
    together = threading.Barrier(4, timeout=10)  # broken, and an error, if fewer come to it
    batches = decoded(Rows(8, lambda _: together.wait()), size)
    assert sum(len(batch.rows) for batch in batches) == 8


def settled(samples):
    """Return how many rows were begun once nothing more happens."""
    before = -1
    while before != len(samples.begun):
        before = len(samples.begun)
        time.sleep(0.2)
    return before


def test_no_more_than_two_large_batches_are_ahead_of_the_model():
    samples = Rows(1000)
    batches = decode_ahead(samples, in_batches(1000, 20), StageTimer(), threads=4)
    next(batches)
    assert settled(samples) == 3 * 20
    next(batches)
    assert settled(samples) == 4 * 20
    batches.close()


def test_small_batches_are_decoded_ahead_only_as_far_as_threads_need():
    samples = Rows(1000)
    batches = decode_ahead(samples, in_batches(1000, 1), StageTimer(), threads=4)
    next(batches)
    assert settled(samples) <= 2 * 4 + 1
    batches.close()


def test_large_images_are_not_decoded_further_ahead_than_two_batches(monkeypatch):
    monkeypatch.setattr(
        "dtrak_stream.data.decode_ahead._BYTES_AHEAD", 3 * 16
    )  # three images of four float32 numbers
    samples = Rows(1000)
    batches = decode_ahead(samples, in_batches(1000, 1), StageTimer(), threads=4)
    next(batches)
    assert settled(samples) <= 4
    batches.close()


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt, MemoryError])
def test_an_error_comes_in_its_turn_and_ends_all_threads(kind):
    def fail(row):
        if row == 9:
            raise kind("row 9")

    samples = Rows(1000, fail)
    batches = decode_ahead(samples, in_batches(1000, 4), StageTimer(), threads=4)
    assert [next(batches).rows for _ in range(2)] == [range(0, 4), range(4, 8)]
    with pytest.raises(kind, match="row 9"):
        next(batches)
    assert len(samples.begun) < 100
    assert not [each for each in threading.enumerate() if each.name.startswith("decode")]


def test_unreadable_images_leave_their_reasons_and_the_others_their_places():
    def refuse(row):
        if row % 3 == 0:
            raise BadImageError(f"row {row} is bad")

    first, last = decoded(Rows(7, refuse), 6)
    assert first.places == [1, 2, 4, 5]
    assert first.samples.ids == ("row 1", "row 2", "row 4", "row 5")
    assert first.samples.conditions == (1, 2, 4, 5)
    assert first.reasons == {0: "row 0 is bad", 3: "row 3 is bad"}
    assert (last.places, len(last.samples), last.reasons) == ([], 0, {6: "row 6 is bad"})


def test_a_model_that_stops_early_leaves_no_thread_behind():
    samples = Rows(1000)
    batches = decode_ahead(samples, in_batches(1000, 4), StageTimer(), threads=4)
    next(batches)
    batches.close()
    assert not [each for each in threading.enumerate() if each.name.startswith("decode")]
    assert len(samples.begun) < 100


def sources(folder: Path) -> dict[str, str]:
    pixels = random_pixels(60)
    images = save_images(folder / "images", pixels)
    with h5py.File(folder / "images.h5", "w") as file:
        file.create_dataset("x", data=pixels, chunks=(7, 8, 8), compression="gzip")
    np.savez(folder / "images.npz", x=pixels)
    encoded = [{"image": {"bytes": path.read_bytes()}} for path in sorted(images.iterdir())]
    features = datasets.Features({"image": datasets.Image()})
    datasets.Dataset.from_list(encoded, features=features).save_to_disk(folder / "dataset")
    return {
        "folder": str(images),
        "HDF5": f"{folder / 'images.h5'}:x",
        "npz": f"{folder / 'images.npz'}:x",
        "data set": str(folder / "dataset"),
    }


@pytest.mark.parametrize("kind", ["folder", "HDF5", "npz", "data set"])
def test_every_source_gives_many_threads_the_same_images_as_one(tmp_path, kind):
    images = open_images(sources(tmp_path)[kind], visible=False)
    one_by_one = torch.stack([images.image(row) for row in range(60)])
    for _ in range(5):
        batches = decoded(images, 20, threads=8)
        assert torch.equal(torch.cat([batch.samples.tensors for batch in batches]), one_by_one)


def test_time_of_threads_side_by_side_is_counted_once():
    timer = StageTimer()
    samples = Rows(8, lambda _: time.sleep(0.05))
    start = time.perf_counter()
    for _ in decode_ahead(samples, in_batches(8, 8), timer, threads=4):
        pass
    assert 0.09 <= timer.seconds()["decode"] <= time.perf_counter() - start + 0.02
