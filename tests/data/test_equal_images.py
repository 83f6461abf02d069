"""Images of a source that are equal."""

from __future__ import annotations

import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from dtrak_stream.data.equal_images import PictureHashes
from dtrak_stream.data.images import open_images
from dtrak_stream.data.source import UNREADABLE


def pairs(pictures: list[bytes]) -> list[list[int]]:
    hashes = PictureHashes(len(pictures))
    for picture in pictures:
        hashes.add(picture)
    found: list[list[int]] = hashes.equal().repeats.tolist()
    return found


def test_each_repeat_is_beside_the_first_of_its_kind():
    assert pairs([b"a", b"b", b"a", b"c", b"b", b"a"]) == [[2, 0], [4, 1], [5, 0]]
    assert pairs([b"a", b"b"]) == pairs([]) == []


def test_repeats_are_those_of_a_plain_search():
    letters = np.random.default_rng(0).integers(0, 40, 300)
    pictures = [bytes([letter]) for letter in letters]
    expected = [
        [place, pictures.index(picture)]
        for place, picture in enumerate(pictures)
        if pictures.index(picture) < place
    ]
    assert pairs(pictures) == expected


def test_images_that_cannot_be_read_are_not_equal():
    assert pairs([UNREADABLE, UNREADABLE, b"a"]) == []


def test_equal_images_of_a_source_are_told_and_listed_by_name(tmp_path, folder, capsys):
    shutil.copy(folder / "3.png", folder / "a copy.png")
    shutil.copy(folder / "3.png", folder / "b.png")
    images = open_images(str(folder), visible=True)
    assert images.equal_if_hashed() is None
    images.identity()
    told = f"{folder}: 2 images are equal to an earlier one (the first: a copy.png = 3.png)"
    assert told in capsys.readouterr().err.splitlines()
    found = images.equal_if_hashed()
    assert found is not None
    found.write(tmp_path / "equal.csv", images.sample_id)
    assert (tmp_path / "equal.csv").read_text().splitlines() == [
        "sample_id,equal_to",
        "a copy.png,3.png",
        "b.png,3.png",
    ]


@pytest.mark.parametrize("spec", ["a.npy", "a.npy[1:4]"])
def test_rows_of_an_array_are_compared_by_their_pixels(tmp_path, pixels, spec):
    np.save(tmp_path / "a.npy", pixels[[0, 1, 1, 0]])
    images = open_images(f"{tmp_path}/{spec}", visible=False)
    images.identity()
    found = images.equal_if_hashed()
    assert found is not None
    expected = [[1, 0]] if spec.endswith("]") else [[2, 1], [3, 0]]
    assert found.repeats.tolist() == expected


def test_an_image_takes_few_bytes_while_they_are_compared():
    count = 20_000
    tracemalloc.start()
    hashes = PictureHashes(count)
    for number in range(count):
        hashes.add(number.to_bytes(8, "little"))
    assert len(hashes.equal()) == 0
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 120 * count


def test_a_list_is_written_whole_or_not_at_all(tmp_path: Path):
    hashes = PictureHashes(2)
    hashes.add(b"a")
    hashes.add(b"a")

    def name(index: int) -> str:
        raise RuntimeError(index)

    with pytest.raises(RuntimeError):
        hashes.equal().write(tmp_path / "equal.csv", name)
    assert not list(tmp_path.iterdir())
