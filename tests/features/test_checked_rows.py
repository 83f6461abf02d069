"""Rows that are whole or not there."""

from __future__ import annotations

from dtrak_stream.features.checked_rows import CheckedRows


def test_a_row_is_there_when_it_was_written_and_is_whole(tmp_path):
    path = tmp_path / "new" / "rows.bin"
    rows = CheckedRows(path, 5)
    assert rows.read(0) is None
    assert not path.parent.exists()
    rows.write(2, b"third")
    assert [rows.read(place) for place in range(4)] == [None, None, b"third", None]
    assert CheckedRows(path, 5).read(2) == b"third"
    assert CheckedRows(path, 5).taken_bytes > 0
    rows.write(1, b"\0" * 5)
    assert rows.read(1) == b"\0" * 5


def test_a_row_in_the_place_of_another_is_not_there(tmp_path):
    rows = CheckedRows(tmp_path / "rows.bin", 5)
    rows.write(0, b"first")
    rows.write(1, b"other")
    content = (tmp_path / "rows.bin").read_bytes()
    (tmp_path / "rows.bin").write_bytes(content[13:] + content[:13])
    assert rows.read(0) is None
    assert rows.read(1) is None
