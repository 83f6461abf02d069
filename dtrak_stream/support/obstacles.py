"""Why a file cannot be read or written when nothing says that it is damaged.

The system tells by a number (errno); HDF5 often writes it into its text alone. A file that another
program holds, that one has no right to, whose server does not answer, or for which a process has
no handle left, may be whole: it is never taken for damaged, made again or advised to be removed.
"""

from __future__ import annotations

import errno
import re

from dtrak_stream.errors import UnavailableError

_IN_TEXT = re.compile(r"errno = (\d+)")
_RIGHTS = {errno.EACCES, errno.EPERM}
_HELD = {errno.EAGAIN, errno.EDEADLK, errno.EBUSY, errno.ETXTBSY}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
_HANDLES = {errno.EMFILE, errno.ENFILE}
_MEMORY = {errno.ENOMEM, errno.ENOBUFS}
_OUT_OF_REACH = {
    errno.EIO,
    errno.ESTALE,
    getattr(errno, "EREMOTEIO", errno.EIO),  # Linux only
    errno.ENODEV,
    errno.ENXIO,
    errno.ENOTCONN,
    errno.ESHUTDOWN,
    errno.ETIMEDOUT,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
}
_WITHOUT_LOCKS = "set HDF5_USE_FILE_LOCKING=FALSE where the file system knows no locks"


def errno_of(error: BaseException) -> int | None:
    """Return the number of what the system would not do; None if the error has none."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = _IN_TEXT.search(str(error)) if isinstance(error, OSError | RuntimeError) else None
    return int(found[1]) if found else None


def refuse_unavailable(where: object, error: BaseException) -> None:
    """Raise the refusal of a file that may well be whole; return if `error` is of another kind.

    Parameters
    ----------
    where
        The file.
    error
        What opening, reading or locking it ended with.

    Raises
    ------
    UnavailableError
        Saying what is in the way, and what to do about that.
    """
    if isinstance(error, UnavailableError):
        raise error
    found = _obstacle(errno_of(error), is_lock="lock file" in str(error))
    if found is not None:
        raise UnavailableError(found[0], where=where, remedy=found[1]) from error


def refuse_out_of_reach(where: object, error: BaseException) -> None:
    """Raise the refusal of a file whose disk or server does not answer; return for other errors.

    Raises
    ------
    UnavailableError
        Saying so, and what to do about that.
    """
    if errno_of(error) in _OUT_OF_REACH:
        refuse_unavailable(where, error)


def _obstacle(number: int | None, *, is_lock: bool) -> tuple[str, str] | None:
    """Return what is in the way, and what to do; None if the file itself may be to blame."""
    if number is None:
        return None
    if number in _NO_LOCKS and is_lock:
        return "cannot be locked: its file system knows no locks", _WITHOUT_LOCKS
    if number in _HELD or is_lock:
        return (
            "is locked: another program has it open for writing, or looks at it",
            f"close that program and run the same command again, or {_WITHOUT_LOCKS}",
        )
    if number in _RIGHTS:
        return "may not be read (permission denied)", "give yourself the right to read it"
    if number in _HANDLES:
        return (
            "cannot be opened: too many files are open",
            "raise the limit (ulimit -n) and run the same command again",
        )
    if number in _MEMORY:
        return "cannot be read: no memory is left", "free some and run the same command again"
    if number in _OUT_OF_REACH:
        return (
            f"is out of reach ({_text(number)}): its disk or file server does not answer as it "
            "should",
            "check disk, mount and network, and run the same command again",
        )
    return None


def _text(number: int) -> str:
    return {errno.EIO: "input/output error", errno.ESTALE: "stale file handle"}.get(
        number, errno.errorcode[number]
    )
