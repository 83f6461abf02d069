"""Natural order of file names, as bytes that sort that way: image_2.png comes before image_10.png.

The order is that of the library natsort (whole numbers without signs, everything else by code
point). Its keys are tuples, which take 400 bytes a name and are compared entry by entry; a million
names of one folder are sorted in a seventh of the memory and a third of the time as bytes.
"""

from __future__ import annotations

import re

from natsort import natsort_keygen

# No name has a zero byte in it. A number is one zero byte, its count of digits (at least 1) and its
# digits; so two zero bytes, which stand between key and name, come before all that a key can go on
# with, as a shorter tuple comes before a longer one.
_NUMBER = b"\0"
_END = b"\0\0"
_DIGITS = re.compile(rb"[0-9]+")
_natural_key = natsort_keygen()


def sortable(name: str) -> bytes:
    """Return bytes whose order is the natural order of names, and that `name_of` turns back.

    Parameters
    ----------
    name
        The name of a file or folder, without those above it. What follows its last dot does not
        count, unless names are equal but for that, or for leading zeros: then they come by code
        point.
    """
    stem = name.rsplit(".", 1)[0]
    key = _key_of_ascii(stem.encode()) if stem.isascii() else _key_of_any(stem)
    return key + _END + _encoded(name)


def name_of(sortable_name: bytes) -> str:
    """Return the name of which `sortable` made these bytes."""
    return sortable_name.partition(_END)[2].decode(errors="surrogatepass")


def _key_of_ascii(stem: bytes) -> bytes:
    return _DIGITS.sub(lambda found: _number(found[0].lstrip(b"0") or b"0"), stem)


def _key_of_any(stem: str) -> bytes:
    """Return the same from natsort's key: accents stand apart, and digits of any script count."""
    parts = _natural_key(stem)
    return b"".join(
        _encoded(part) if isinstance(part, str) else _number(str(part).encode()) for part in parts
    )


def _number(digits: bytes) -> bytes:
    return _NUMBER + bytes((len(digits),)) + digits


def _encoded(text: str) -> bytes:
    # names that are not UTF-8 are refused by whoever lists them; until then they are in order
    return text.encode(errors="surrogatepass")
