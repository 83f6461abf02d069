"""Which kind of source a string names, and opening it."""

from __future__ import annotations

import glob
import os
import re
import stat
from pathlib import Path

from natsort import natsorted

from dtrak_stream.data.array_files import open_hdf5, open_npy, open_npz
from dtrak_stream.data.decoding import IMAGE_SUFFIXES
from dtrak_stream.data.folder import FolderSource
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.source import Source, unreadable
from dtrak_stream.errors import InputError

KINDS = (
    "a folder of images, FILE.npy, FILE.npz:KEY, FILE.h5:KEY, sklearn:digits, a folder saved by "
    "datasets, FILE.parquet, FILE.tar, or hf:OWNER/NAME"
)

_ARRAY_FILE = re.compile(
    r"(?P<path>.+?\.(?P<suffix>npy|npz|h5|hdf5))(:(?P<key>.+))?", re.IGNORECASE | re.DOTALL
)
_WILDCARD = re.compile(r"[*?\[]")
_BUILDERS = {".parquet": "parquet", ".tar": "webdataset"}
_SAVED_MARKERS = ({"state.json", "dataset_info.json"}, {"dataset_dict.json"})


def open_source(body: str, options: ImageOptions, *, visible: bool) -> Source:
    """Open the source that `body` (without a slice) names.

    Raises
    ------
    InputError
        If it is missing, unreadable, ambiguous or of no known kind.
    """
    if body.startswith("sklearn:"):
        return _open_embedded(body)
    if body.startswith("hf:"):
        # Importing datasets takes a second, which only its users should wait for.
        from dtrak_stream.data.hugging_face import open_hub

        return open_hub(body.removeprefix("hf:"), options, visible=visible)
    path = Path(body)
    mode = _mode(path)
    if stat.S_ISDIR(mode):
        return _open_folder(path, options, visible)
    match = _ARRAY_FILE.fullmatch(body)
    if match:
        return _open_array_file(Path(match["path"]), match["suffix"], match["key"])
    if _WILDCARD.search(body) and not mode:
        return _open_shards(_matches(body), body, options, visible)
    _require_readable(path)
    if path.suffix.lower() in _BUILDERS:
        return _open_shards([path], body, options, visible)
    raise InputError("is of no known kind", where=body, remedy=f"give {KINDS}")


def array_file(body: str) -> tuple[Path, str] | None:
    """Return path and suffix (npy, npz, h5 or hdf5) of a source in an array file, else None."""
    match = _ARRAY_FILE.fullmatch(body)
    if match is None or not Path(match["path"]).is_file():
        return None
    return Path(match["path"]), match["suffix"].lower()


def _open_embedded(body: str) -> Source:
    if body != "sklearn:digits":
        raise InputError("is not embedded", where=body, remedy="give sklearn:digits")
    # Importing scikit-learn takes a second, which only its users should wait for.
    from dtrak_stream.data.digits import open_digits

    return open_digits()


def _open_array_file(path: Path, suffix: str, key: str | None) -> Source:
    _require_readable(path)
    if suffix.lower() == "npz":
        return open_npz(path, key)
    if suffix.lower() != "npy":
        return open_hdf5(path, key)
    if key is not None:
        raise InputError(
            "an npy file has no keys", where=f"{path}:{key}", remedy=f"write {path} alone"
        )
    return open_npy(path)


def _open_folder(path: Path, options: ImageOptions, visible: bool) -> Source:
    names = _names_in(path)
    if any(markers <= set(names) for markers in _SAVED_MARKERS):
        from dtrak_stream.data.hugging_face import open_saved

        return open_saved(path, options, visible=visible)
    archives = [name for name in names if Path(name).suffix.lower() in _BUILDERS]
    if not archives:
        return FolderSource(path)
    if any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in names):
        raise InputError(
            f"holds image files as well as {Path(archives[0]).suffix} files",
            where=path,
            remedy=f"name the files meant, such as '{path}/*{Path(archives[0]).suffix}'",
        )
    return _open_shards([path / name for name in archives], str(path), options, visible)


def _open_shards(files: list[Path], where: str, options: ImageOptions, visible: bool) -> Source:
    suffixes = {file.suffix.lower() for file in files}
    if len(suffixes) > 1 or not suffixes <= _BUILDERS.keys():
        raise InputError(
            f"names files of these kinds: {', '.join(sorted(suffixes))}",
            where=where,
            remedy="name .parquet files only, or .tar files only",
        )
    for file in files:
        _require_readable(file)
    from dtrak_stream.data.hugging_face import open_shards

    in_order = natsorted(sorted(files), key=str)
    builder = _BUILDERS[suffixes.pop()]
    return open_shards(builder, in_order, options, where=where, visible=visible)


def _mode(path: Path) -> int:
    """Return the file type and permissions of `path`, 0 if it cannot be looked at."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _names_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as listing:
            return [entry.name for entry in listing if not entry.name.startswith(".")]
    except OSError as error:
        raise unreadable(folder, error) from error


def _matches(pattern: str) -> list[Path]:
    files = [Path(name) for name in glob.glob(pattern)]  # noqa: PTH207
    if not files:
        raise InputError("matches no file", where=pattern, remedy="check the pattern")
    return files


def _require_readable(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise unreadable(path, error) from error
