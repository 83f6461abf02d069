"""Sets of images that are told apart by a name: `NAME=SRC` on a command line."""

from __future__ import annotations

import re

_NAMED = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9_]*)=(?P<source>.+)", re.DOTALL)


def split_name(text: str) -> tuple[str, str]:
    """Return the name, empty if there is none, and the source.

    The name begins with a letter, and letters, digits and underscores follow. A folder that looks
    like one with a name is meant by `./a=b`.
    """
    match = _NAMED.fullmatch(text)
    return (match["name"], match["source"]) if match else ("", text)
