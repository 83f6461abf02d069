"""What of a folder is taken for images: the rest is told, and no picture of our own is one."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from dtrak_stream.data.folder_walk import GENERATION_RECORD, REPORT_RECORDS
from dtrak_stream.data.images import open_images
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.passed_over import PassedOver
from dtrak_stream.data.source_stamp import stamp_source
from dtrak_stream.errors import BadImageError, InputError
from dtrak_stream.report.places import GRID_FOLDER, PAGE_NAME
from dtrak_stream.support.stamps import Stamping


def save(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    Image.new("L", (4, 4)).save(file, "png")
    path.write_bytes(file.getvalue())


def ids(folder: Path, *, visible: bool = False) -> list[str]:
    images = open_images(str(folder), visible=visible)
    return images.sample_ids(0, len(images))


def test_upper_case_endings_are_read(tmp_path):
    for name in ("1.PNG", "2.Jpg", "3.JPEG"):
        save(tmp_path / name)
    assert ids(tmp_path) == ["1.PNG", "2.Jpg", "3.JPEG"]


def test_what_is_passed_over_is_told_once_with_its_endings(tmp_path, capsys):
    for name in ("1.png", "2.heic", "a/3.HEIC", "a/4", "a/b.tar", ".hidden"):
        save(tmp_path / name)
    assert ids(tmp_path, visible=True) == ids(tmp_path, visible=True) == ["1.png"]
    assert capsys.readouterr().err == (
        f"{tmp_path}: 4 files are passed over (2 .heic, 1 .tar, 1 without an ending): "
        "rename or convert what is an image\n"
    )


def test_what_was_told_when_opening_is_not_told_after_the_run(tmp_path, capsys):
    save(tmp_path / "1.png")
    save(tmp_path / "2.heic")
    told = f"{tmp_path}: 1 file is passed over (1 .heic): rename or convert what is an image"
    assert open_images(str(tmp_path), visible=False).remarks() == []
    assert capsys.readouterr().err == f"{told}\n"


def test_nothing_is_told_where_all_are_images(folder, capsys):
    assert len(ids(folder, visible=True)) == 12
    assert capsys.readouterr().err == ""


def test_a_folder_without_images_is_refused_with_what_it_has(tmp_path):
    save(tmp_path / "1.heic")
    with pytest.raises(InputError, match=r"holds no images; 1 file is passed over \(1 \.heic\)"):
        ids(tmp_path)


def test_few_endings_are_kept_and_fewer_told():
    passed = PassedOver()
    for number in range(1000):
        passed.note(f"image.{number:05d}")
    for _ in range(3):
        passed.note("a.txt")
        passed.note("image.00000")
    (line,) = passed.lines()
    assert line.startswith("1,006 files are passed over (")
    assert "4 .00000" in line
    assert line.endswith("998 of other endings): rename or convert what is an image")


@pytest.mark.parametrize("below", ["", "runs/first/"])
def test_a_report_is_not_taken_for_images(tmp_path, below):
    save(tmp_path / "images" / "1.png")
    save(tmp_path / "images" / f"{below}report" / GRID_FOLDER / "query-00000.png")
    (tmp_path / "images" / f"{below}report" / PAGE_NAME).write_text("")
    with pytest.raises(InputError, match=r"report: is a report, whose grids would be taken"):
        ids(tmp_path / "images")
    with pytest.raises(InputError, match="is a report"):
        ids(tmp_path / "images" / f"{below}report")


def test_generated_images_are_no_part_of_another_folder(tmp_path):
    save(tmp_path / "1.png")
    save(tmp_path / "generated" / "00000.png")
    assert ids(tmp_path) == ["1.png", "generated/00000.png"]
    (tmp_path / "generated" / GENERATION_RECORD).write_text("")
    with pytest.raises(InputError, match=r"generated: is images that were generated, which"):
        ids(tmp_path)
    assert ids(tmp_path / "generated") == ["00000.png"]
    assert open_images(str(tmp_path / "generated"), visible=False).remarks() == []


def test_records_are_called_as_those_who_write_them_call_them():
    assert {PAGE_NAME, GRID_FOLDER} == REPORT_RECORDS


@pytest.mark.parametrize("name", ["2.png", "1.txt", "loop"])
def test_a_link_to_itself_is_no_folder(tmp_path, name):
    save(tmp_path / "1.png")
    (tmp_path / name).symlink_to(name)
    images = open_images(str(tmp_path), visible=False)
    assert images.sample_ids(0, len(images)) == ["1.png", *[name] * (name == "2.png")]
    assert stamp_source(str(tmp_path), ImageOptions(), Stamping())
    if name == "2.png":
        with pytest.raises(BadImageError, match="too many levels of symbolic links"):
            images.image(1)
    if name == "1.txt":
        with pytest.raises(InputError, match="none are found"):
            open_images(str(tmp_path), conditioned_on="caption", visible=False)
