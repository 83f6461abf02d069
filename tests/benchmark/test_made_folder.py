"""The folder that benchmarks measure in: made, and gone afterwards."""

from __future__ import annotations

import pytest

from dtrak_stream.benchmark.made_folder import made_folder
from dtrak_stream.errors import InputError


def test_a_folder_that_is_not_there_is_made_and_holds_nothing_afterwards(tmp_path):
    work = tmp_path / "not" / "there"
    with made_folder("x-", work) as folder:
        assert folder.parent == work
        assert folder.name.startswith("x-")
        (folder / "large").touch()
    assert list(work.iterdir()) == []


def test_what_lies_in_a_folder_stays(tmp_path):
    (tmp_path / "own").touch()
    with made_folder("x-", tmp_path) as folder:
        assert folder.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def test_without_one_it_is_where_temporary_files_are(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with made_folder("x-", None) as folder:
        assert folder.parent == tmp_path


@pytest.mark.parametrize("below", [(), ("below",)])
def test_a_file_is_refused_by_its_name(tmp_path, below):
    file = tmp_path / "file"
    file.write_text("own")
    work = file.joinpath(*below)
    with pytest.raises(InputError, match=r"--work .*file.*: not a folder"), made_folder("x-", work):
        pytest.fail("it goes on")
    assert file.read_text() == "own"
