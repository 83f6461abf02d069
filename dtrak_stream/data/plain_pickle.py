"""Pickles of plain values: numbers, strings, lists, tuples, dicts and NumPy arrays, nothing else.

A pickle is a program: it names functions of any module and calls them. Here it may name those few
that NumPy's arrays, types and numbers are pickled with, and what answers to these names is none of
NumPy's functions but a reader of this module that looks at every part before an array is made of
it. All operations of the pickle are looked through before the first one is carried out.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dtrak_stream.data.source import brief, open_regular, unreadable
from dtrak_stream.errors import InputError
from dtrak_stream.support.memory import format_size

LARGEST_PICKLE = 2**30
"""Bytes of the largest file that is read unless another limit is given."""

_OPERATIONS = {
    *("PROTO", "FRAME", "STOP", "MARK"),
    *("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "GET", "BINGET", "LONG_BINGET"),
    *("NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2"),
    *("LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("EMPTY_LIST", "LIST", "APPEND", "APPENDS"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"),
    *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
}
_PLACES = {"PUT", "BINPUT", "LONG_BINPUT"}
_NUMBERS = re.compile(r"[?]|b1|[iuf][1248]")
_ORDERS = ("<", ">", "=", "|")
_REMEDY = (
    "give a pickle of lists, tuples, dicts, numbers, strings and NumPy arrays of numbers; others "
    "could run a program and are not read"
)
# what reading bytes that are no pickle, or a damaged one, ends with
_NOT_A_PICKLE = (
    *(pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, LookupError),
    *(OverflowError, RecursionError, MemoryError),
)


def read_plain_pickle(path: Path, *, limit: int = LARGEST_PICKLE) -> Any:
    """Return what a pickle holds; NumPy arrays are of numbers or truth values.

    Parameters
    ----------
    path
        The file, of any pickle protocol of Python 3.
    limit
        Bytes it may have. What is read takes up to a small multiple of them.

    Raises
    ------
    InputError
        If it cannot be read, is larger, is no pickle, or holds anything else, which is named.
    """
    content = _content(path, limit)
    _refuse_other_operations(content, path)
    try:
        return _PlainUnpickler(content, path).load()
    except _NOT_A_PICKLE as error:
        raise _no_pickle(path, error) from error


def _content(path: Path, limit: int) -> bytes:
    try:
        with open_regular(path) as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise unreadable(path, error) from error
    if len(content) > limit:
        raise InputError(
            f"is larger than {format_size(limit)}, which is too large for a pickle of this kind",
            where=path,
            remedy="give the file that was meant",
        )
    return content


def _refuse_other_operations(content: bytes, path: Path) -> None:
    try:
        for number, (operation, argument, _) in enumerate(pickletools.genops(content)):
            if operation.name not in _OPERATIONS:
                raise _not_plain(f"makes something by {operation.name}", path)
            # room is made for all places up to the one that is named
            if operation.name in _PLACES and int(argument or 0) > number:
                raise _not_plain(f"numbers a value {argument} that has no such number", path)
    except _NOT_A_PICKLE as error:
        raise _no_pickle(path, error) from error


def _no_pickle(path: Path, error: BaseException) -> InputError:
    return InputError(
        f"cannot be read as a pickle ({brief(error)})",
        where=path,
        remedy="it may be empty, truncated or something else; copy or write it again",
    )


def _not_plain(what: str, path: Path) -> InputError:
    return InputError(what, where=path, remedy=_REMEDY)


class _PlainUnpickler(pickle.Unpickler):
    """Carries out a pickle that can name nothing but the readers below."""

    def __init__(self, content: bytes, path: Path) -> None:
        super().__init__(io.BytesIO(content))
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        """Return the reader of this name, or refuse it."""
        reader = _READERS.get(f"{module}.{name}".replace("numpy._core.", "numpy.core."))
        if reader is None:
            raise _not_plain(f"holds {module}.{name}", self._path)
        return reader


class _NotToBeChanged:
    """What a pickle can lay hands on, and not give another state to."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise TypeError("gives a function another state")


class _ArrayClass(_NotToBeChanged):
    """Stands for the name of NumPy's class of arrays, which is not to be called."""

    __slots__ = ()


class _Reader(_NotToBeChanged):
    """Stands for a function: calls what reads its arguments."""

    __slots__ = ("_read",)

    def __init__(self, read: Callable[..., Any]) -> None:
        self._read = read

    def __call__(self, *arguments: Any) -> Any:
        return self._read(*arguments)


class _Type:
    """A type of numbers; its byte order is told after it was made."""

    __slots__ = ("_name", "_order")

    def __init__(self, name: str, align: bool = False, copy: bool = True) -> None:  # noqa: ARG002
        if not _NUMBERS.fullmatch(name):
            raise ValueError(f"an array of type {name}")
        self._name, self._order = name, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, *inside = state
        if order not in _ORDERS or any(part is not None for part in inside[:3]):
            raise ValueError(f"an array of a type of several parts ({self._name})")
        self._order = order

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the type as NumPy's."""
        plain = np.dtype(self._name)
        return plain if self._order == "|" else np.dtype(f"{self._order}{self._name}")


class _Array(np.ndarray[Any, Any]):
    """An array that is made empty, and told its shape, type and numbers afterwards."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, numbers = state
        dtype = _checked(shape, kind, numbers)
        state = (1, shape, dtype, bool(fortran), bytes(numbers))
        super().__setstate__(state)


def _checked(shape: Any, kind: Any, numbers: Any) -> np.dtype[Any]:
    """Return the type of an array whose parts fit together."""
    if not isinstance(kind, _Type) or not isinstance(numbers, bytes | bytearray):
        raise TypeError("an array of something else than numbers")
    whole = isinstance(shape, tuple) and all(type(side) is int and side >= 0 for side in shape)
    if not whole or math.prod(shape) * kind.dtype.itemsize != len(numbers):
        raise ValueError(f"an array of shape {shape} in {len(numbers)} bytes")
    return kind.dtype


def _empty_array(kind: object, shape: object, code: object) -> _Array:  # noqa: ARG001
    if not isinstance(kind, _ArrayClass):
        raise TypeError("an array of another class")
    return _Array((0,))


def _array_of(numbers: Any, kind: Any, shape: Any, order: str) -> np.ndarray[Any, Any]:
    flat = np.frombuffer(numbers, _checked(shape, kind, numbers))
    native = flat.astype(flat.dtype.newbyteorder("="), copy=False)
    return native.reshape(shape, order="F" if order == "F" else "C")


def _number(kind: Any, content: Any) -> Any:
    return np.frombuffer(content, _checked((), kind, content))[0]


def _bytes_of(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"bytes written as {encoding}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


_READERS: dict[str, object] = {
    "numpy.ndarray": _ArrayClass(),
    "numpy.dtype": _Reader(_Type),
    "numpy.core.multiarray._reconstruct": _Reader(_empty_array),
    "numpy.core.multiarray.scalar": _Reader(_number),
    "numpy.core.numeric._frombuffer": _Reader(_array_of),
    "_codecs.encode": _Reader(_bytes_of),
    "__builtin__.bytes": _Reader(_no_bytes),
}
