"""Files beside images that are called like them, in folders and archives."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dtrak_stream.data.condition_options import ConditionOptions
from dtrak_stream.data.images import Images, open_images
from dtrak_stream.data.opening import open_source
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.errors import InputError
from tests.small_jobs import random_pixels, save_images


@pytest.fixture(params=["folder", "zip"])
def images(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Images]:
    """What opens three images with files beside them as captions, of a folder and packed."""

    def opened(files: dict[str, str | bytes], **options: Any) -> Images:
        folder = tmp_path / "images"
        save_images(folder, random_pixels(3))
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            (folder / name).write_bytes(data)
        return open_images(
            str(folder if request.param == "folder" else packed(folder)),
            conditioned_on="caption",
            conditions=ConditionOptions(**options),
        )

    return opened


def packed(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    return path


def test_captions_of_kohyas_scripts_are_found(images, capsys):
    found = images({f"00{number}.caption": f"\ufeff{number}\n" for number in range(3)})
    assert found.conditions(0, 3) == ["0", "1", "2"]
    assert "captions: sidecar .caption files (3)" in capsys.readouterr().err


def test_texts_of_both_endings_are_taken_where_they_agree(images, capsys):
    found = images({"000.caption": "a", "001.txt": "b", "002.caption": "c", "002.txt": "c\n"})
    assert found.conditions(0, 3) == ["a", "b", "c"]
    assert "captions: sidecar .txt and .caption files (3)" in capsys.readouterr().err


def test_texts_that_differ_are_refused_unless_one_is_named(images):
    files = {f"00{number}.txt": "tags" for number in range(3)}
    files |= {f"00{number}.caption": "tags" if number else "a cat" for number in range(3)}
    with pytest.raises(InputError, match=r"000\.txt: differs from what .*000\.caption says"):
        images(files)
    assert images(files, caption_column=".caption").conditions(0, 2) == ["a cat", "tags"]
    assert images(files, caption_column=".txt").conditions(0, 2) == ["tags", "tags"]


def test_the_caption_in_json_is_found(images, capsys):
    rows = ({"caption": f"of {number}", "url": "x", "status": "success"} for number in range(3))
    found = images({f"00{number}.json": json.dumps(row) for number, row in enumerate(rows)})
    assert found.conditions(0, 3) == ["of 0", "of 1", "of 2"]
    assert "captions: caption in sidecar .json files (3)" in capsys.readouterr().err


def test_other_entries_of_json_are_read_when_named(images):
    files: dict[str, str | bytes] = {f"00{n}.json": json.dumps({"alt": f"of {n}"}) for n in (0, 2)}
    with pytest.raises(InputError, match="none are found"):
        images(files)
    with pytest.raises(InputError, match=r"1 image has no caption in column \.json\.alt \(001"):
        images(files, caption_column=".json.alt")
    found = images(files, caption_column=".json.alt", missing_captions="?")
    assert found.conditions(0, 3) == ["of 0", "?", "of 2"]


def test_a_text_is_taken_before_json(images):
    files = {f"00{number}.txt": "text" for number in range(3)} | {"001.json": '{"caption": "x"}'}
    assert images(files).conditions(0, 3) == ["text"] * 3


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\xff{}", "is not UTF-8"),
        (b'{"caption": ', "is not JSON"),
        (b"[1]", "is no JSON object"),
        (b'{"caption": ["a", "b"]}', "row 1 holds a list, which is no caption"),
        (b"[" * 100_000, "is not JSON"),
        (b" " * (2**20 + 1), "1,048,57[67]"),
    ],
)
def test_json_that_holds_no_caption_is_refused_in_a_line(images, content, problem):
    files = {f"00{number}.json": b'{"caption": "x"}' for number in (0, 2)} | {"001.json": content}
    with pytest.raises(InputError, match=problem) as refusal:
        images(files)
    assert "001.json" in str(refusal.value) or "row 1" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_json_that_is_of_something_else_is_no_column(tmp_path):
    save_images(tmp_path / "images", random_pixels(2))
    (tmp_path / "images" / "000.json").write_text("[[0, 0, 4, 4]]")
    source = open_source(str(tmp_path / "images"), ImageOptions(), visible=False)
    assert list(source.columns()) == ["folder"]
    assert source.remarks() == []
