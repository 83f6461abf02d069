"""A word about images that are used, but not all of which is seen."""

import numpy as np
import pytest
from PIL import Image

from dtrak_stream.data.images import Images, open_images
from dtrak_stream.data.remarks import Remarks

FRAMES = "several frames or pages; the first is taken"


def frames(count: int) -> list[Image.Image]:
    shades = np.random.default_rng(0).integers(0, 256, (count, 5, 6), dtype=np.uint8)
    return [Image.fromarray(each) for each in shades]


def save_animation(path, count: int = 3) -> np.ndarray:
    """Write an animation; return the pixels of its first frame, (5, 6, channels)."""
    first, *others = frames(count)
    first.save(path, save_all=True, append_images=others, lossless=True)
    with Image.open(path) as image:
        mode = "L" if path.suffix in (".png", ".tiff") else "RGB"
        return np.asarray(image.convert(mode)).reshape(5, 6, -1)


def opened(spec: object) -> Images:
    return open_images(str(spec), visible=False)


def decode_all(images: Images) -> list[str]:
    for row in range(len(images)):
        images.image(row)
    return images.remarks()


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tiff"])
def test_of_an_animation_the_first_frame_is_taken_and_told(tmp_path, suffix):
    pixels = save_animation(tmp_path / f"a{suffix}")
    images = opened(tmp_path)
    shown = (images.image(0).permute(1, 2, 0).numpy() + 1) * 127.5
    assert np.array_equal(shown.round(), pixels)
    assert images.remarks() == [f"{tmp_path}: 1 image has {FRAMES} (a{suffix})"]


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tiff", ".jpg"])
def test_nothing_is_told_of_an_image_with_one_frame(tmp_path, suffix):
    frames(1)[0].save(tmp_path / f"a{suffix}")
    assert decode_all(opened(tmp_path)) == []


def test_a_photo_with_another_view_in_it_is_one_picture(tmp_path):
    first, second = frames(2)
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    assert decode_all(opened(tmp_path)) == []


def test_many_are_counted_and_the_first_are_named_in_order_each_once(tmp_path):
    for row in (7, 3, 11, 9):
        save_animation(tmp_path / f"{row:02d}.gif")
    frames(1)[0].convert("RGB").save(tmp_path / "05.png")
    images = opened(tmp_path)
    for row in (4, 3, 0, 0, 2):
        images.image(row)
    decode_all(images)
    names = "03.gif, 07.gif, 09.gif, ..."
    assert decode_all(images) == [f"{tmp_path}: 4 images have {FRAMES} ({names})"]


def test_rows_of_a_data_set_are_told_by_their_names(tmp_path):
    datasets = pytest.importorskip("datasets")
    save_animation(tmp_path / "a.gif")
    cells = [{"bytes": (tmp_path / "a.gif").read_bytes(), "path": None}] * 2
    rows = datasets.Dataset.from_dict({"image": cells}).cast_column("image", datasets.Image())
    rows.to_parquet(tmp_path / "a.parquet")
    spec = f"{tmp_path}/a.parquet[1:]"
    assert decode_all(opened(spec)) == [f"{spec}: 1 image has {FRAMES} (1)"]


def test_arrays_have_nothing_to_be_told(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 5, 6), np.uint8))
    assert decode_all(opened(tmp_path / "a.npy")) == []


def test_each_thing_noticed_has_its_line():
    remarks = Remarks(5, lambda row: f"image {row}")
    remarks.note("orientation", 4)
    remarks.about(2)("frames")
    remarks.about(0)("frames")
    assert remarks.lines() == [
        f"2 images have {FRAMES} (image 0, image 2)",
        "1 image has EXIF that cannot be read; it is not turned (image 4)",
    ]
