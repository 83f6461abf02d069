"""The string that names a source, and the slice it may end in."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dtrak_stream.errors import ConfigurationError, InputError

_SLICE = re.compile(r"(?P<body>.*)\[(?P<start>\d*):(?P<stop>\d*)\]", re.DOTALL)
_SLICE_LIKE = re.compile(r".*\[[^\]/]*:[^\]/]*\]", re.DOTALL)


@dataclass(frozen=True)
class Spec:
    """A source and the range of it that is meant."""

    text: str
    """As the user wrote it."""
    body: str
    """Without the slice."""
    start: int
    """First row."""
    stop: int | None
    """One past the last row; None is the end."""

    def rows(self, count: int, limit: int | None) -> tuple[int, int]:
        """Return the rows `[start, stop)` meant in a source of `count` images.

        Raises
        ------
        InputError
            If that is none at all.
        """
        if count == 0:
            raise InputError(
                "holds no images", where=self.text, remedy="name a source that has some"
            )
        stop = count if self.stop is None else min(self.stop, count)
        if self.start >= stop:
            raise InputError(
                f"the slice selects none of the {count} images",
                where=self.text,
                remedy=f"write [a:b] with a < b and a < {count}",
            )
        return self.start, stop if limit is None else min(stop, self.start + limit)


def parse_spec(text: str) -> Spec:
    """Split a source string into the source and its slice.

    Raises
    ------
    InputError
        If there is nothing there, or the slice is not of the form `[a:b]`.
    """
    match = _SLICE.fullmatch(text)
    if match is None and _SLICE_LIKE.fullmatch(text):
        raise InputError(
            "not a slice of the form [a:b]",
            where=text,
            remedy="use whole numbers from 0, either of which may be left out, and no step",
        )
    body = match["body"] if match else text
    if not body.strip():
        raise InputError("no image source is named", where=repr(text), remedy="name one")
    start = int(match["start"] or 0) if match else 0
    stop = int(match["stop"]) if match and match["stop"] else None
    return Spec(text, body, start, stop)


def require_limit(limit: int | None, *, flag: str = "--limit") -> None:
    """Raise `ConfigurationError` if `limit` is not a number of images."""
    if limit is not None and limit < 1:
        raise ConfigurationError(
            f"{limit} is not a number of images",
            where=flag,
            remedy="give a whole number of at least 1, or leave it out for all images",
        )
