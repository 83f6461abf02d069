"""Every refusal this package makes, as one family of exceptions.

Each message is one line that says what is wrong, where, and what to do about it. The command
line prints it as it stands and exits with code 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


class DtrakStreamError(Exception):
    """Base of all refusals.

    Parameters
    ----------
    what
        What is wrong, in a clause.
    where
        The file, flag or item it is wrong about.
    remedy
        What the reader can do now.
    """

    def __init__(self, what: str, *, where: object, remedy: str) -> None:
        self.what = what
        self.where = str(where)
        self.remedy = remedy
        super().__init__(f"{self.where}: {what}; {remedy}")

    def __reduce__(self) -> tuple[Any, ...]:
        # workers send their refusals back; the default calls __init__ with the message alone
        return _restored, (type(self), self.args, self.__dict__)


def _restored(
    kind: type[DtrakStreamError], arguments: tuple[Any, ...], state: dict[str, Any]
) -> DtrakStreamError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


class InputError(DtrakStreamError):
    """A path, file or value given by the user cannot be used."""


class ConfigurationError(DtrakStreamError):
    """An option has a value that is not supported, or two options contradict each other."""


class ModelError(DtrakStreamError):
    """A model folder cannot be loaded or does not fit the images."""


class FingerprintMismatchError(DtrakStreamError):
    """Two things that must have been computed alike were not.

    Parameters
    ----------
    field
        What differs.
    stored, requested
        Both values of it.
    where, remedy
        Of the refusal.
    note
        What can be said of the difference, where the values say little.
    """

    def __init__(
        self,
        field: str,
        stored: object,
        requested: object,
        *,
        where: object,
        remedy: str,
        note: str = "",
    ) -> None:
        self.field = field
        self.stored = stored
        self.requested = requested
        self.note = note
        super().__init__(
            f"{field} differs: stored {stored!r}, requested {requested!r}"
            + (f" ({note})" if note else ""),
            where=where,
            remedy=remedy,
        )


def refuse_differences(
    fields: Iterable[tuple[str, object, object]], *, where: object, remedy: str
) -> None:
    """Refuse to go on if anything that must agree does not.

    Parameters
    ----------
    fields
        Name, stored and requested value of each; not looked at further than the first difference.
    where, remedy
        Of the refusal.

    Raises
    ------
    FingerprintMismatchError
        Naming the first field that differs, and both values.
    """
    for name, stored, requested in fields:
        if stored != requested:
            raise FingerprintMismatchError(name, stored, requested, where=where, remedy=remedy)


def first_few(names: Sequence[object], *, shown: int = 3, count: int | None = None) -> str:
    """Return the first of some names, for a message: `a, b, c, ...`.

    Parameters
    ----------
    names
        All of them, or those that are first.
    shown
        How many are named at most.
    count
        How many there are, where `names` may be the first ones only.
    """
    first = names[:shown]
    more = ", ..." if (len(names) if count is None else count) > len(first) else ""
    return ", ".join(map(str, first)) + more


class CorruptFileError(DtrakStreamError):
    """A file is truncated, or its contents do not match its checksum."""


class UnavailableError(DtrakStreamError):
    """A file cannot be had now, though nothing says that it is damaged: it is locked, or away."""


class DiskFullError(DtrakStreamError):
    """A file could not be written because there is no room for it."""


class MemoryLimitError(DtrakStreamError):
    """The work would not fit in the memory it was given, in any plan."""


class BadImageError(Exception):
    """One image cannot be used. The sample is quarantined; the run goes on.

    Parameters
    ----------
    reason
        What is wrong with this image, for the quarantine ledger.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class ClusterError(DtrakStreamError):
    """Workers that share the work, or their scheduler, were lost; what they finished is kept."""


class InterruptedRunError(KeyboardInterrupt):
    """Ctrl-C arrived; everything finished so far is kept.

    Parameters
    ----------
    progress
        What is done and how to go on, for the last line the run prints.
    """

    def __init__(self, progress: str) -> None:
        self.progress = progress
        super().__init__(progress)
