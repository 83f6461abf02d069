"""A hash of pictures and their names alone, whatever they lie in and are brought to.

`Images.identity` is of samples: it depends on the kind of source, the options and the shape. This
one is equal for image files in a folder, an archive, a list or a data set where names and bytes
are, and for arrays in files of any kind. Files and arrays are not compared.
"""

from __future__ import annotations

import xxhash

from dtrak_stream.data.source import Source
from dtrak_stream.support.progress import progress

_ROWS_AT_A_TIME = 2**10
_OF_FILES, _OF_ARRAYS = "files", "arrays"
_ARRAY_LAYOUT = "array "


def pictures_identity(source: Source, rows: range, *, visible: bool) -> str:
    """Return `files:` or `arrays:` and a hash of the pictures in some rows and their sample ids.

    All of them are read once, and none is decoded.

    Parameters
    ----------
    source
        The images.
    rows
        Which of them are meant, without a step.
    visible
        Whether to draw a progress bar.
    """
    kind = _OF_ARRAYS if source.layout().startswith(_ARRAY_LAYOUT) else _OF_FILES
    digest = xxhash.xxh3_128()
    with progress(len(rows), description="hashing pictures", unit="image", visible=visible) as bar:
        for first in range(0, len(rows), _ROWS_AT_A_TIME):
            block = rows[first : first + _ROWS_AT_A_TIME]
            names = source.sample_ids(block.start, block.stop)
            contents = source.contents(block.start, block.stop)
            for name, content in zip(names, contents, strict=True):
                for part in (name.encode(), content.picture):
                    digest.update(len(part).to_bytes(8, "little") + part)
                bar.update()
    return f"{kind}:{digest.hexdigest()}"


def is_of_pictures(identity: str) -> bool:
    """Return whether a hash is one of pictures, and none of samples."""
    return ":" in identity


def are_comparable(one: str, other: str) -> bool:
    """Return whether two hashes of images are known and of one kind, so that they must be equal."""
    return bool(one and other) and one.rpartition(":")[0] == other.rpartition(":")[0]
