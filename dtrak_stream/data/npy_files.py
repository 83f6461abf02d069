"""Small arrays of numbers or words beside the images: subsets, classes, orders of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.lib import format as npy_format
from numpy.typing import NDArray

from dtrak_stream.data.source import open_regular, unreadable
from dtrak_stream.errors import InputError


def read_npy(path: Path, *, holds: str) -> NDArray[Any]:
    """Read a whole npy file; nothing in it is unpickled.

    Parameters
    ----------
    path
        The file.
    holds
        What it should hold, for refusals.

    Raises
    ------
    InputError
        If it is missing, no file, or no npy file of plain values.
    UnavailableError
        If it may be whole, and cannot be had now.
    """
    try:
        with open_regular(path) as file:
            array: NDArray[Any] = npy_format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, EOFError) as error:
        raise InputError(
            f"cannot be read ({str(error).splitlines()[0]})",
            where=path,
            remedy=f"give a .npy file of {holds}",
        ) from error
    return array
