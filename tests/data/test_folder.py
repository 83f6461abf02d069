"""A folder of image files as a source."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dtrak_stream.data.images import open_images
from dtrak_stream.errors import BadImageError, InputError


def save(path: Path, shade: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), shade).save(path)


def ids(spec: object) -> list[str]:
    images = open_images(str(spec), visible=False)
    return images.sample_ids(0, len(images))


def test_files_come_in_natural_order_with_relative_paths(tmp_path):
    names = ["1.png", "2.png", "10.png", "a/3.png", "a2/1.JPG", "a2/b/1.png", "a10/1.png"]
    names += ["img.png", "img2.png"]
    for name in sorted(names, reverse=True):
        save(tmp_path / name)
    assert ids(tmp_path) == names


def test_names_that_count_the_same_have_a_fixed_order(tmp_path):
    for name in ("1.png", "01.png", "001.png", "1.bmp"):
        save(tmp_path / name)
    assert ids(tmp_path) == ["001.png", "01.png", "1.bmp", "1.png"]


def test_hidden_and_foreign_files_are_passed_over(tmp_path):
    save(tmp_path / "1.png")
    save(tmp_path / ".2.png")
    save(tmp_path / ".hidden" / "3.png")
    (tmp_path / "labels.txt").write_text("x")
    (tmp_path / "png").write_text("x")
    assert ids(tmp_path) == ["1.png"]


def test_linked_folder_is_followed(tmp_path):
    save(tmp_path / "elsewhere" / "1.png")
    save(tmp_path / "images" / "0.png")
    (tmp_path / "images" / "more").symlink_to(tmp_path / "elsewhere")
    assert ids(tmp_path / "images") == ["0.png", "more/1.png"]


def test_folder_linked_into_itself_is_refused(tmp_path):
    save(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    with pytest.raises(InputError, match=r"again: is a symbolic link to a folder it lies in"):
        open_images(str(tmp_path))


def test_file_name_that_is_not_text_is_refused(tmp_path):
    save(tmp_path / "1.png")
    os.rename(tmp_path / "1.png", os.fsencode(tmp_path) + b"/\xff.png")  # noqa: PTH104
    with pytest.raises(InputError, match="not UTF-8"):
        open_images(str(tmp_path))


def test_opening_decodes_only_the_first_readable_image(tmp_path, decodes):
    for index in range(50):
        save(tmp_path / f"{index}.png")
        if index != 1:
            (tmp_path / f"{index}.png").write_bytes(b"corrupt")
    images = open_images(str(tmp_path), visible=False)
    assert len(images) == 50
    assert len(decodes) == 2
    images.sample_ids(0, 50)
    images.identity()
    assert len(decodes) == 2
    images.image(1)
    assert len(decodes) == 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"corrupt", "not an image"), (None, "no such file")],
)
def test_bad_file_is_quarantined_and_the_others_are_read(folder, content, reason):
    (folder / "3.png").unlink()
    if content is None:
        (folder / "3.png").symlink_to("nowhere.png")
    else:
        (folder / "3.png").write_bytes(content)
    images = open_images(str(folder), visible=False)
    with pytest.raises(BadImageError, match=reason):
        images.image(3)
    assert images.sample_id(3) == "3.png"
    assert images.image(4).shape == (3, 6, 8)


def test_file_without_permission_is_quarantined(as_nobody):
    for index in range(2):
        save(as_nobody / f"{index}.png")
    (as_nobody / "1.png").chmod(0)
    images = open_images(str(as_nobody), visible=False)
    before = images.identity()
    with pytest.raises(BadImageError, match="permission denied"):
        images.image(1)
    (as_nobody / "1.png").chmod(0o644)
    assert open_images(str(as_nobody), visible=False).identity() != before


@pytest.mark.parametrize("name", ["", "inside"])
def test_folder_without_permission_is_refused(as_nobody, name):
    save(as_nobody / "1.png")
    (as_nobody / "inside").mkdir()
    (as_nobody / name).chmod(0)
    try:
        with pytest.raises(InputError, match="permission denied"):
            open_images(str(as_nobody), visible=False)
    finally:
        (as_nobody / name).chmod(0o755)


def test_image_that_has_another_size_than_the_first_is_quarantined(folder):
    Image.new("RGB", (9, 6)).save(folder / "5.png")
    images = open_images(str(folder), visible=False)
    with pytest.raises(BadImageError, match="3x6x9, not 3x6x8: use --image-fit crop"):
        images.image(5)


def test_pixels_come_back_exactly(folder, pixels):
    images = open_images(str(folder), visible=False)
    for index, expected in enumerate(pixels):
        image = images.image(index)
        back = np.rint((image.numpy().astype(np.float64) + 1) * 127.5)
        np.testing.assert_array_equal(back.transpose(1, 2, 0), expected)
