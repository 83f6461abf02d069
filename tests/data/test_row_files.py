"""Files of row numbers."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from dtrak_stream.data.row_files import read_rows
from dtrak_stream.errors import InputError

ROWS = [5, 0, 3]


def write(folder: Path, suffix: str, rows: object) -> Path:
    path = folder / f"rows{suffix}"
    if suffix == ".txt":
        path.write_text("\n".join(map(str, rows)))  # type: ignore[call-overload]
    elif suffix == ".json":
        path.write_text(json.dumps(rows))
    elif suffix == ".npy":
        np.save(path, np.array(rows))
    else:
        path.write_bytes(pickle.dumps(rows))
    return path


@pytest.mark.parametrize("suffix", [".txt", ".json", ".npy", ".pkl"])
def test_rows_come_in_the_order_of_the_file(tmp_path, suffix):
    found = read_rows(write(tmp_path, suffix, ROWS), 6)
    assert found.tolist() == ROWS
    assert found.dtype == np.int64


def test_lines_may_end_and_begin_as_windows_writes_them(tmp_path):
    path = tmp_path / "rows.txt"
    path.write_bytes(b"\xef\xbb\xbf5\r\n0\r\n\r\n3\r\n")
    assert read_rows(path, 6).tolist() == ROWS


@pytest.mark.parametrize("suffix", [".txt", ".json", ".npy"])
@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([1, 6, 7], r"names row 6, and there are 6 \(the first is 0\)"),
        ([1, -2, 6], "names row -2, which is negative"),
        ([4, 1, 4, 1], "names row 1 twice"),
    ],
)
def test_rows_that_are_not_there_or_there_twice_are_refused(tmp_path, suffix, rows, problem):
    with pytest.raises(InputError, match=f"rows{suffix}.*{problem}"):
        read_rows(write(tmp_path, suffix, rows), 6)


@pytest.mark.parametrize(
    ("suffix", "rows", "problem"),
    [
        (".txt", [1, "2.0"], r"line 2 is no row number \(2\.0\)"),
        (".txt", [1, "9" * 30], "line 2 is no row number"),
        (".txt", [], "names no rows"),
        (".json", {"rows": ROWS}, "holds no list"),
        (".json", [1, True], r"entry 1 .* is no row number \(True\)"),
        (".json", [1, 2.0], "entry 1"),
        (".json", [10**30], "entry 0"),
        (".json", [], "names no rows"),
        (".npy", [1.0, 2.0], "type float64"),
        (".npy", [[1, 2]], r"shape \(1, 2\)"),
        (".pkl", ["a"], "no list of row numbers"),
        (".pkl", [3, 6], "names row 6, and there are 6"),
        (".pkl", [3, 3], "names row 3 twice"),
    ],
)
def test_what_are_no_row_numbers_is_refused(tmp_path, suffix, rows, problem):
    with pytest.raises(InputError, match=problem):
        read_rows(write(tmp_path, suffix, rows), 6)


def test_numbers_too_large_for_any_row_are_refused_as_such(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, np.array([2**64 - 1], np.uint64))
    with pytest.raises(InputError, match="and there are 6"):
        read_rows(path, 6)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "deep.json").write_text("[" * 99_999)
    with pytest.raises(InputError, match="cannot be read"):
        read_rows(tmp_path / "deep.json", 6)
    for name in ("a.txt", "a.json", "a.npy"):
        with pytest.raises(InputError, match="does not exist"):
            read_rows(tmp_path / name, 6)
    with pytest.raises(InputError, match=r"\.txt, \.npy, \.json"):
        read_rows(tmp_path / "a.csv", 6)
    for name in ("b.json", "b.npy"):
        (tmp_path / name).write_bytes(b"\x93NUMPY")
        with pytest.raises(InputError, match=r"cannot be read|NumPy"):
            read_rows(tmp_path / name, 6)
