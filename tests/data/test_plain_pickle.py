"""Pickles of plain values come back; those that name or do anything else are refused by name."""

from __future__ import annotations

import fractions
import os
import pickle
import struct
import subprocess
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dtrak_stream.data.index_pickle import read_index_pickle
from dtrak_stream.data.plain_pickle import read_plain_pickle
from dtrak_stream.errors import InputError

PROTOCOLS = range(6)
PLAIN: dict[str, Any] = {
    "numbers": [0, -1, 2**70, 1.5, float("inf"), True, None, 3 + 2**31],
    "strings": ["", "ü", "a" * 300],
    "nested": ((), (1,), (1, 2, 3, 4), {"a": [1, {2: "b"}]}, {}),
    "scalars": [np.float32(1.25), np.int64(-3), np.bool_(True)],
}
ARRAYS = [
    np.arange(6, dtype="<f4").reshape(2, 3),
    np.arange(6, dtype=">f8").reshape(2, 3),
    np.asfortranarray(np.arange(6, dtype="<i8").reshape(2, 3)),
    np.arange(6)[::2],
    np.array(5.0),
    np.zeros((0, 4), np.uint8),
    np.array([True, False]),
]


class Program:
    """Pickled as a call of `os.system`, which makes a file."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self):
        return os.system, (f"touch {self.made}",)


class Called:
    """Pickled as a call of any function."""

    def __init__(self, function, *arguments) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def written(path: Path, held: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(held, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", PLAIN)
def test_plain_values_come_back_from_every_protocol(tmp_path, name, protocol):
    held = read_plain_pickle(written(tmp_path / "p", PLAIN[name], protocol))
    assert held == PLAIN[name]
    assert [type(part) for part in held] == [type(part) for part in PLAIN[name]]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_come_back_from_every_protocol(tmp_path, protocol):
    held = read_plain_pickle(written(tmp_path / "p", {"arrays": ARRAYS}, protocol))
    for array, read in zip(ARRAYS, held["arrays"], strict=True):
        assert (read.dtype, read.shape) == (array.dtype.newbyteorder("="), array.shape)
        assert np.array_equal(read, array)


def test_arrays_that_numpy_1_wrote_come_back(tmp_path):
    content = pickle.dumps(np.arange(3.0), protocol=2)
    older = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert older != content
    (tmp_path / "p").write_bytes(older)
    assert read_plain_pickle(tmp_path / "p").tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pickle_that_would_run_a_program_is_refused_by_name_and_runs_nothing(tmp_path, protocol):
    path = written(tmp_path / "p", [1, Program(tmp_path / "made")], protocol)
    with pytest.raises(InputError, match=r"holds (posix|nt)\.system; give a pickle of lists"):
        read_plain_pickle(path)
    assert not (tmp_path / "made").exists()
    pickle.loads(path.read_bytes())
    assert (tmp_path / "made").exists(), "the pickle does nothing anyway"


@pytest.mark.parametrize(
    ("held", "name"),
    [
        (OrderedDict(), "collections.OrderedDict"),
        (fractions.Fraction(1, 2), "fractions.Fraction"),
        (Called(eval, "1"), "builtins.eval"),
        (Called(getattr, "a", "upper"), "builtins.getattr"),
        (Called(subprocess.check_output, "ls"), "subprocess.check_output"),
        (Called(np.load, "x"), "numpy.load"),
        (Path("a"), "pathlib"),
        (torch.zeros(2), "torch"),
        (np.ma.masked_array([1.0], [True]), "numpy.ma"),
        (complex(1, 2), "builtins.complex"),
        (Called(np.ndarray, (2,)), "not callable"),
    ],
)
def test_everything_else_is_refused_by_its_name(tmp_path, held, name):
    with pytest.raises(InputError, match=name):
        read_plain_pickle(written(tmp_path / "p", held))


@pytest.mark.parametrize("kind", ["O", "U3", "S2", "M8[s]", "c16", "i4,f4"])
def test_arrays_of_anything_but_numbers_are_refused(tmp_path, kind):
    array = np.zeros(2, kind)
    with pytest.raises(InputError, match=r"cannot be read as a pickle|makes something by"):
        read_plain_pickle(written(tmp_path / "p", [array]))


def changed(content: bytes, old: bytes, new: bytes) -> bytes:
    assert old in content
    return content.replace(old, new)


FLOATS = pickle.dumps(np.arange(3.0), protocol=2)
STATE_OF_A_FUNCTION = b"\x80\x02cnumpy\ndtype\n}X\x01\x00\x00\x00aK\x01sb."
SLOT_OF_A_FUNCTION = b"\x80\x02cnumpy\ndtype\nN}X\x05\x00\x00\x00_readcnumpy\nndarray\ns\x86b."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as a pickle"),
        (b"\x93NUMPY", "cannot be read as a pickle"),
        (pickle.dumps([1, 2, 3])[:-3], "cannot be read as a pickle"),
        (b"\x80\x04.", "cannot be read as a pickle"),
        (pickle.dumps(fractions.Fraction(1, 2))[:-1] + b"\x81.", "NEWOBJ"),
        (b"\x80\x02P1\n.", "PERSID|cannot be read"),
        (b"\x80\x02]r\xff\xff\xff\x7f.", "numbers a value 2147483647"),
        (changed(FLOATS, b"K\x03\x85", b"K\x04\x85"), r"an array of shape \(4,\) in 24 bytes"),
        (changed(FLOATS, b"f8", b"O8"), "an array of type O8"),
        (changed(FLOATS, b"X\x01\x00\x00\x00<", b"X\x01\x00\x00\x00s"), "of a type of several"),
        (changed(FLOATS, b"NNN", b"NK\x01N"), "of a type of several"),
        (changed(FLOATS, b"latin1", b"utf-16"), "bytes written as utf-16"),
        (changed(FLOATS, b"numpy\nndarray", b"numpy\ndtype"), "an array of another class"),
        (STATE_OF_A_FUNCTION, "gives a function another state"),
        (SLOT_OF_A_FUNCTION, "gives a function another state"),
    ],
)
def test_a_pickle_that_was_damaged_or_made_by_hand_is_refused(tmp_path, content, message):
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_plain_pickle(tmp_path / "p")


def test_a_number_of_a_place_takes_no_room_before_it_is_refused(tmp_path):
    """A reader makes room for as many values as the number of a place says."""
    (tmp_path / "p").write_bytes(b"\x80\x02]r" + struct.pack("<I", 2**32 - 1) + b".")
    with pytest.raises(InputError, match="has no such number"):
        read_plain_pickle(tmp_path / "p")


def test_a_file_over_the_limit_is_not_read(tmp_path):
    path = written(tmp_path / "p", list(range(1000)))
    assert len(read_plain_pickle(path, limit=path.stat().st_size)) == 1000
    with pytest.raises(InputError, match="too large for a pickle of this kind"):
        read_plain_pickle(path, limit=path.stat().st_size - 1)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_plain_pickle(tmp_path / "p")


@pytest.mark.parametrize("held", [[4, 0, 2], (4, 0, 2), np.array([4, 0, 2], np.int32)])
def test_an_index_is_a_list_of_whole_numbers(tmp_path, held):
    numbers = read_index_pickle(written(tmp_path / "idx.pkl", held))
    assert numbers.dtype == np.int64
    assert numbers.tolist() == [4, 0, 2]


def test_an_index_may_be_of_numpy_numbers(tmp_path):
    assert read_index_pickle(written(tmp_path / "idx.pkl", [np.int64(4), 2])).tolist() == [4, 2]


@pytest.mark.parametrize(
    "held",
    [
        [],
        {},
        "ab",
        [1.0],
        [True],
        [-1],
        np.array([0, -1]),
        [[1], [2]],
        np.zeros((2, 2), int),
        np.zeros(2),
        [2**63],
    ],
)
def test_an_index_of_anything_else_is_refused(tmp_path, held):
    with pytest.raises(InputError, match="is no list of row numbers"):
        read_index_pickle(written(tmp_path / "idx.pkl", held))
