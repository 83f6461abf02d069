"""Metadata files in a folder of images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dtrak_stream.data.metadata_files import MetadataFiles
from dtrak_stream.errors import InputError
from dtrak_stream.support.names import ListedNames

NAMES = ["0.png", "1.png", "a/2.png"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    for name in NAMES:
        (tmp_path / name).touch()
    return tmp_path


def lines(*rows: dict[str, Any]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def files(folder: Path, **contents: str) -> MetadataFiles:
    """Write metadata files, called by their endings, into the folder and read them."""
    names = {"jsonl": "metadata.jsonl", "csv": "metadata.csv", "inner": "a/metadata.jsonl"}
    for ending, content in contents.items():
        (folder / names[ending]).write_text(content, newline="")
    listed = ListedNames(lambda start, stop: NAMES[start:stop], range(len(NAMES)))
    return MetadataFiles(folder, [names[ending] for ending in contents], listed)


def test_rows_are_found_by_image_in_any_order(folder):
    rows = [{"file_name": name, "text": f"of {name}"} for name in ("a/2.png", "./0.png")]
    found = files(folder, jsonl=lines(*rows).replace("\n", "\n\n", 1))
    assert found.values("text", 0, 3) == ["of ./0.png", None, "of a/2.png"]
    assert found.values("text", 2, 3) == ["of a/2.png"]
    assert found.columns()["text"].told == "column text of metadata.jsonl"


def test_fields_of_csv_may_have_commas_quotes_and_lines(folder):
    text = '\ufefftext,file_name,label\r\n"a, ""b""\n and é",1.png,7\r\n,0.png,\r\n'
    found = files(folder, csv=text)
    assert found.values("text", 0, 3) == [None, 'a, "b"\n and é', None]
    assert found.values("label", 0, 3) == [None, "7", None]
    assert {name: column.kind for name, column in found.columns().items()} == {
        "text": "text",
        "label": "number",
    }


def test_values_of_json_are_what_they_are(folder):
    rows: list[dict[str, Any]] = [
        {"file_name": "0.png", "a": "7", "b": 7, "c": 0.5, "d": [1], "e": True, "f": 1, "g": None},
        {"file_name": "1.png", "f": "x"},
    ]
    found = files(folder, jsonl=lines(*rows))
    kinds = {"a": "text", "b": "number", "f": "text"} | dict.fromkeys("cde", "other")
    assert {name: column.kind for name, column in found.columns().items()} == kinds


def test_files_of_several_folders_go_together(folder):
    inner = lines({"file_name": "2.png", "text": "two", "label": 2})
    found = files(folder, csv="file_name,text\n0.png,zero\n", inner=inner)
    assert found.values("text", 0, 3) == ["zero", None, "two"]
    assert found.values("label", 0, 3) == [None, None, 2]
    assert found.columns()["text"].told == "column text of 2 metadata files"


def test_missing_files_are_counted_and_the_first_are_named(folder):
    rows = lines(*({"file_name": f"{number}.png"} for number in range(6)))
    with pytest.raises(InputError, match=r"4 of the files .* \(2\.png, 3\.png, 4\.png, \.\.\.\)"):
        files(folder, jsonl=rows)


def test_files_that_are_there_and_not_among_the_images_are_left_alone(folder):
    (folder / "other.png").touch()
    rows = lines({"file_name": "other.png", "text": "x"}, {"file_name": "0.png", "text": "y"})
    assert files(folder, jsonl=rows).values("text", 0, 3) == ["y", None, None]


@pytest.mark.parametrize(
    ("contents", "why"),
    [
        ({"jsonl": lines({"file_name": "0.png"}) * 2}, r"line 2 is about 0\.png, which has a row"),
        (
            {"csv": "file_name,x\na/2.png,1\n", "inner": lines({"file_name": "2.png"})},
            r"line 1 is about a/2\.png, which has a row",
        ),
        ({"jsonl": lines({"text": "x"})}, "line 1 has no file_name"),
        ({"jsonl": lines({"file_name": "\ud800.png"})}, "line 1 has no file_name"),
        ({"csv": "text\nx\n"}, "line 2 has no file_name"),
        ({"jsonl": "[1]\n"}, "line 1 is not a JSON object"),
        ({"jsonl": "[" * 99_999}, "line 1 is not JSON"),
        ({"jsonl": lines({"file_name": "0.png"}) + "{\n"}, "line 2 is not JSON"),
        ({"csv": "file_name,text\n0.png,a,b\n"}, "line 2 has 3 fields, and the header 2"),
        ({"csv": 'file_name,text\n0.png,"a\n'}, "is not CSV"),
        ({"csv": "file_name,text,text\n0.png,a,b\n"}, "line 1 has two columns called 'text'"),
    ],
)
def test_what_cannot_be_read_is_refused(folder, contents, why):
    with pytest.raises(InputError, match=why):
        files(folder, **contents)


def test_text_that_is_not_utf_8_is_refused(folder):
    (folder / "metadata.jsonl").write_bytes(b'{"file_name": "\xff"}\n')
    listed = ListedNames(lambda start, stop: NAMES[start:stop], range(len(NAMES)))
    with pytest.raises(InputError, match="is not UTF-8"):
        MetadataFiles(folder, ["metadata.jsonl"], listed)


def test_images_may_be_named_by_absolute_paths_and_through_folders_above(folder):
    rows = [
        {"file_name": str(folder / "0.png"), "text": "absolute"},
        {"file_name": f"../{folder.name}/1.png", "text": "from above"},
    ]
    inner = [{"file_name": "../a/2.png", "text": "from beside"}]
    found = files(folder, jsonl=lines(*rows), inner=lines(*inner))
    assert found.values("text", 0, 3) == ["absolute", "from above", "from beside"]


@pytest.mark.parametrize("name", ["../0.png", "/etc/hostname"])
def test_a_row_of_a_file_outside_is_refused(folder, name):
    (folder.parent / "0.png").touch()
    with pytest.raises(InputError, match=r"line 1 names a file outside of .*list:FILE"):
        files(folder, jsonl=lines({"file_name": name, "text": "x"}))


def test_paths_of_windows_are_told_apart_from_missing_files(folder):
    rows = lines({"file_name": "a\\2.png", "text": "x"})
    with pytest.raises(InputError, match=r"are not there .*between folders write / instead of"):
        files(folder, jsonl=rows)
    with pytest.raises(InputError) as refused:
        files(folder, jsonl=lines({"file_name": "a/3.png", "text": "x"}))
    assert "instead of" not in refused.value.remedy
