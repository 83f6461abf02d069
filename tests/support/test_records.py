"""Records of what a folder was begun with: the first one stays, another is refused by its field."""

from __future__ import annotations

import pytest

from dtrak_stream.errors import CorruptFileError, FingerprintMismatchError
from dtrak_stream.support.records import RecordKind

KIND = RecordKind("is no record", if_unreadable="restore it", if_another="give another folder")


def test_a_record_is_written_once_and_read_back(tmp_path):
    path = tmp_path / "record.json"
    assert KIND.read(path) is None
    KIND.begin(path, {"seed": 1, "shape": (2, 3)})
    written = path.stat().st_mtime_ns
    KIND.begin(path, {"seed": 1, "shape": (2, 3)})
    assert KIND.read(path) == {"seed": 1, "shape": [2, 3]}
    assert path.stat().st_mtime_ns == written
    assert [each.name for each in tmp_path.iterdir()] == ["record.json"]


def test_another_is_refused_by_the_first_field_that_differs_and_changes_nothing(tmp_path):
    path = tmp_path / "record.json"
    KIND.begin(path, {"b": 1, "a": 2})
    with pytest.raises(FingerprintMismatchError, match="give another folder") as refusal:
        KIND.begin(path, {"b": 3, "a": 4})
    assert (refusal.value.field, refusal.value.where) == ("b", str(path))
    with pytest.raises(FingerprintMismatchError) as refusal:
        KIND.begin(path, {"b": 1}, where="here")
    assert (refusal.value.field, refusal.value.where) == ("a", "here")
    assert KIND.read(path) == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    ("content", "problem"), [("{", "not readable as JSON"), ("[]", "is no record; restore it")]
)
def test_a_file_that_is_no_record_is_refused(tmp_path, content, problem):
    path = tmp_path / "record.json"
    path.write_text(content)
    with pytest.raises(CorruptFileError, match=problem):
        KIND.read(path)
