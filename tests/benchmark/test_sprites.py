"""The sprites of the LDS benchmark: which are read, in which order, and what is refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dtrak_stream.benchmark.lds import sprites
from dtrak_stream.benchmark.lds.sprites import read_sprites, write_other_sprites, write_sprites
from dtrak_stream.errors import CorruptFileError, InputError
from dtrak_stream.model.places import EMBEDDED_SPRITES, place_of

SPRITE_MODEL = place_of(EMBEDDED_SPRITES)
RED, CLEAR = (200, 0, 0, 255), (50, 60, 70, 0)


def png(color: tuple[int, ...], side: int = 32) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA", (side, side), color).save(buffer, "PNG")
    return buffer.getvalue()


def record(name: str, content: bytes) -> bytes:
    return f"IMAGE {len(content)} ./arch/{name}\n".encode() + content


def written(folder: Path, *records: bytes) -> Path:
    path = folder / "crossfire.base"
    path.write_bytes(b"".join(records))
    return path


def test_sprites_are_of_the_classes_asked_for_on_black_and_half_as_large(tmp_path):
    path = written(
        tmp_path,
        record("monster/a.png", png(RED)),
        record("weapon/b.png", png(CLEAR)),
        record("spell/c.png", png((1, 2, 3, 255))),
        record("monster/large.png", png(RED, 64)),
    )
    images = read_sprites(path, ("monster", "weapon"))
    assert images.shape == (2, 16, 16, 3)
    assert {tuple(image[0, 0]) for image in images} == {(200, 0, 0), (0, 0, 0)}
    np.testing.assert_array_equal(read_sprites(tmp_path, ("monster", "weapon")), images)
    assert len(read_sprites(path, None)) == 3


def test_half_as_large_is_the_mean_of_four_pixels(tmp_path):
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[0:2, 0:2, 1] = [[10, 20], [30, 40]]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    (image,) = read_sprites(
        written(tmp_path, record("monster/a.png", buffer.getvalue())), ("monster",)
    )
    assert tuple(image[0, 0]) == (0, 25, 0)


def test_equal_sprites_are_taken_once_and_their_order_in_the_file_does_not_matter(tmp_path):
    records = [record(f"monster/{n}.png", png((n, 0, 0, 255))) for n in (1, 2, 3, 3)]
    first = read_sprites(written(tmp_path, *records), ("monster",))
    assert len(first) == 3
    again = read_sprites(written(tmp_path, *reversed(records)), ("monster",))
    np.testing.assert_array_equal(first, again)


@pytest.fixture
def few(monkeypatch) -> None:
    monkeypatch.setattr(sprites, "TRAIN_IMAGES", 3)
    monkeypatch.setattr(sprites, "VALIDATION_IMAGES", 2)


@pytest.mark.usefixtures("few")
def test_training_validation_and_other_sprites_have_none_in_common(tmp_path):
    of_monsters = [record(f"monster/{n}.png", png((n, 0, 0, 255))) for n in range(6)]
    path = written(
        tmp_path,
        *of_monsters,
        record("spell/like-a-monster.png", png((1, 0, 0, 255))),
        record("spell/own.png", png((0, 9, 0, 255))),
    )
    train, validation, other = (tmp_path / f"{name}.npy" for name in ("train", "val", "other"))
    write_sprites(path, train, validation)
    write_other_sprites(path, other)
    read = [np.load(file) for file in (train, validation, other)]
    assert [len(images) for images in read] == [3, 2, 1]
    assert len(np.unique(np.concatenate(read), axis=0)) == 6
    assert tuple(read[2][0, 0, 0]) == (0, 9, 0)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no sprites", "where a line IMAGE LENGTH NAME is due"),
        (record("monster/a.png", png(RED))[:-5], "ends within ./arch/monster/a.png"),
        (record("monster/a.png", b"no png"), "./arch/monster/a.png cannot be decoded"),
        (record("monster/a.png", png(RED)), "holds 1 different sprites of monster"),
        (record("monster/a.png", png(RED, 64)), "holds no sprite of 32x32"),
    ],
)
def test_what_is_not_such_a_file_is_refused_and_nothing_written(tmp_path, content, words):
    path, out = written(tmp_path, content), (tmp_path / "a.npy", tmp_path / "b.npy")
    with pytest.raises(CorruptFileError, match=words):
        write_sprites(path, *out)
    assert not any(file.exists() for file in out)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"crossfire-client-images"):
        write_sprites(tmp_path / "none", tmp_path / "a.npy", tmp_path / "b.npy")
