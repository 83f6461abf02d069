"""Memory limits: how they are written, and what this machine has."""

from __future__ import annotations

import re
import resource
from fractions import Fraction
from pathlib import Path

import psutil

from dtrak_stream.errors import ConfigurationError

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_SHARE_OF_FREE_MEMORY = 0.8
_STATUS = Path("/proc/self/status")
_OUT_OF_MEMORY = re.compile(
    r"out of memory"  # the allocators of torch for GPUs, the CUDA runtime and driver, Triton
    r"|can't allocate memory"  # the allocator of torch for CPUs
    r"|_STATUS_ALLOC_FAILED"  # cuDNN, cuBLAS, cuSOLVER, cuSPARSE
    r"|CUFFT_ALLOC_FAILED"
    r"|_(DEVICE|HOST)_ALLOCATION_FAILED",  # cuDNN 9, as a kind of internal error
    re.IGNORECASE,
)


def parse_size(text: str, *, flag: str) -> int:
    """Return the number of bytes in a size such as `4GiB`, `500 MB` or `1000000`.

    Raises
    ------
    ConfigurationError
        If the text is not a size.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ConfigurationError(
            "not a size", where=f"{flag} {text}", remedy="write a size such as 4GiB or 500MB"
        )
    number, prefix, binary = match.groups()
    base = 1024 if binary else 1000
    return int(Fraction(number) * base ** _POWERS[prefix.upper()])


def format_size(size: float) -> str:
    """Return a number of bytes for a reader: `3.2 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def format_enough(size: int) -> str:
    """Return a size to ask for that is at least `size` bytes: `3.3GiB`, without a space."""
    unit = 1024 ** min(4, (max(1, size).bit_length() - 1) // 10)
    tenths = -(-10 * size // unit)  # rounded up: what is asked for must be enough
    return format_size(tenths * unit / 10).replace(" ", "")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` says that memory was wanting, on a CPU or a GPU.

    Libraries of a GPU have no type of error for it, and torch passes on their status by name.
    An internal error of cuDNN that names no allocation, and a kernel that asks for more shared
    memory than a multiprocessor has, are not cured by smaller batches, and are none.
    """
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None
    )


def usable_memory() -> int:
    """Return how many bytes a stage may plan with when no limit was given."""
    return int(psutil.virtual_memory().available * _SHARE_OF_FREE_MEMORY)


def peak_memory() -> int:
    """Return the most resident bytes this process ever had."""
    if _STATUS.exists():
        peak = re.search(r"VmHWM:\s*(\d+) kB", _STATUS.read_text())
        if peak:
            return int(peak[1]) * 1024
    # elsewhere; on Linux it would count the process that started this one, too
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
