"""What lies beside the images of a zip archive is what lies beside those of the folder."""

from __future__ import annotations

import gc
import json
import tempfile
import zipfile
from pathlib import Path

import pytest

from dtrak_stream.data.folder import FolderSource
from dtrak_stream.data.zip_files import ZipSource
from dtrak_stream.errors import InputError


@pytest.fixture
def beside(folder: Path) -> Path:
    """The folder, with texts beside some images and metadata files in two folders."""
    (folder / "deep").mkdir()
    (folder / "5.png").rename(folder / "deep" / "5.png")
    for name, text in (("0", " a cat\n"), ("deep/5", "ein Käfer"), ("readme", "x")):
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    rows = [{"file_name": f"{number}.png", "style": number % 2} for number in (3, 0)]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "deep" / "metadata.csv").write_text("file_name,artist\n5.png,b\n")
    return folder


def packed(folder: Path, **changed: str) -> Path:
    path = folder.parent / "packed.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(file, file.relative_to(folder).as_posix())
        for name, text in changed.items():
            archive.writestr(name.replace("_txt", ".txt"), text)
    return path


def test_columns_are_those_of_the_folder(beside):
    ours, theirs = ZipSource(packed(beside)), FolderSource(beside)
    assert ours.columns() == theirs.columns()
    assert set(ours.columns()) == {"folder", ".txt", "style", "artist"}
    for name in ours.columns():
        assert ours.column(name, 0, 12) == theirs.column(name, 0, 12)
        assert ours.column(name, 3, 9) == theirs.column(name, 3, 9)
    assert ours.column(".txt", 0, 1) == ["a cat"]
    with pytest.raises(InputError, match="no such column; it has folder"):
        ours.column("label", 0, 1)


def test_without_texts_and_metadata_there_are_folders_alone(folder):
    (folder / "readme.txt").write_text("about all of them")
    source = ZipSource(packed(folder))
    assert list(source.columns()) == ["folder"]
    with pytest.raises(InputError, match="no such column"):
        source.column(".txt", 0, 1)


def test_metadata_are_unpacked_once_and_removed_with_the_source(beside, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    source = ZipSource(packed(beside))
    assert not list(temporary.iterdir())
    for _ in range(2):
        assert source.column("style", 0, 12).count(None) == 10
    assert len(list(temporary.iterdir())) == 1
    del source
    gc.collect()
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    ("text", "problem"), [("x" * (2**20 + 1), "1,048,577 bytes"), ("\udcff", "is not UTF-8")]
)
def test_a_text_that_is_no_caption_is_refused_by_name(folder, text, problem):
    path = folder.parent / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(folder / "7.png", "7.png")
        archive.writestr("7.txt", text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=f"7.txt: .*{problem}"):
        ZipSource(path).column(".txt", 0, 1)


def test_two_texts_of_one_name_are_refused(folder):
    path = folder.parent / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(folder / "7.png", "7.png")
        archive.writestr("7.txt", "a cat")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("7.txt", "a dog")
    with pytest.raises(InputError, match=r"holds two files called 7\.txt"):
        ZipSource(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_metadata_files_of_one_name_are_refused(folder):
    path = folder.parent / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(folder / "7.png", "7.png")
        for text in ("cat", "dog"):
            archive.writestr("metadata.csv", f"file_name,a\n7.png,{text}\n")
    with pytest.raises(InputError, match=r"holds two files called metadata\.csv"):
        ZipSource(path)


@pytest.mark.parametrize("name", ["/tmp/{}", "../../{}", "a/../../{}"])
@pytest.mark.parametrize("last", ["metadata.csv", "8.png", "7.txt"])
def test_what_would_lie_outside_is_refused(folder, name, last):
    path = folder.parent / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(folder / "7.png", "7.png")
        archive.writestr(name.format(last), "file_name,a\n7.png,b\n")
    with pytest.raises(InputError, match=rf"outside of it \({name.format(last)}\)"):
        ZipSource(path)


def test_names_that_only_windows_tells_apart_are_refused(folder):
    path = folder.parent / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(folder / "7.png", r"cat\7.png")
    assert ZipSource(path).sample_ids(0, 1) == [r"cat\7.png"]
    member = zipfile.ZipInfo(r"cat\8.png")
    member.create_system = 0
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(member, (folder / "8.png").read_bytes())
    with pytest.raises(InputError, match=r"between its folders \(cat.8\.png\)"):
        ZipSource(path)
