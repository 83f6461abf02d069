"""The table of kinds of image sources: a kind is a file with its class, and one row here.

Finding out which kind a string names, opening it, its stamp, refusals and help read the columns.
A row names the function that opens it without importing it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SourceKind:
    """One kind of source.

    Attributes
    ----------
    name
        Name in this package.
    written
        How a user names such a source, as help and refusals say it.
    holds
        What it holds.
    sample_id
        What the samples in it are called.
    place
        Where the function is that opens it: `module:name`, below this package. It takes
        a `SourceRequest` and returns a `Source`.
    beginning
        What such strings begin with, where that tells them; then no file need be there.
    suffixes
        Suffixes of its file, where these tell it.
    has_keys
        Whether a file may hold several, so that `:KEY` may follow.
    joins
        Whether several files, in a folder or by a pattern, are one source as well.
    markers
        Files of which all are in its folder, in any of these sets, where these tell it.
    knows_splits
        Whether whoever opens it finds its splits; names of files tell them otherwise.
    """

    name: str
    written: str
    holds: str
    sample_id: str
    place: str
    beginning: str = ""
    suffixes: tuple[str, ...] = ()
    has_keys: bool = False
    joins: bool = False
    markers: tuple[frozenset[str], ...] = ()
    knows_splits: bool = False


_PATH, _ROW, _KEY = "path in the folder", "row number", "__key__"
_ARRAY = "array (N, H, W) or (N, H, W, C)"
_DIGITS = "scikit-learn's 1,797 digits of 8x8, kept in the package"
_SAVED = "Hugging Face data set that save_to_disk wrote"
_HUB = "data set on the Hugging Face hub"
_MARKERS = (frozenset({"state.json", "dataset_info.json"}), frozenset({"dataset_dict.json"}))
_FILES, _SETS = "data.array_files", "data.hugging_face"

_TABLE = (
    SourceKind(
        "folder",
        "a folder of images",
        "image files, recursively, in natural order",
        _PATH,
        "data.folder:open_folder",
    ),
    SourceKind("npy", "FILE.npy", _ARRAY, _ROW, f"{_FILES}:open_npy", suffixes=(".npy",)),
    SourceKind(
        "npz",
        "FILE.npz:KEY",
        f"{_ARRAY}, one member",
        _ROW,
        f"{_FILES}:open_npz",
        suffixes=(".npz",),
        has_keys=True,
    ),
    SourceKind(
        "hdf5",
        "FILE.h5:KEY",
        f"{_ARRAY}, one data set",
        _ROW,
        f"{_FILES}:open_hdf5",
        suffixes=(".h5", ".hdf5"),
        has_keys=True,
    ),
    SourceKind(
        "digits", "sklearn:digits", _DIGITS, _ROW, "data.arrays:open_digits", beginning="sklearn:"
    ),
    SourceKind(
        "saved",
        "a folder saved by datasets",
        _SAVED,
        _ROW,
        f"{_SETS}:open_saved",
        markers=_MARKERS,
        knows_splits=True,
    ),
    SourceKind(
        "parquet",
        "FILE.parquet",
        "data set with an image column",
        _ROW,
        f"{_SETS}:open_parquet",
        suffixes=(".parquet",),
        joins=True,
    ),
    SourceKind(
        "webdataset",
        "FILE.tar",
        "webdataset",
        _KEY,
        f"{_SETS}:open_tars",
        suffixes=(".tar",),
        joins=True,
    ),
    SourceKind(
        "zip",
        "FILE.zip",
        "archive of image files, in natural order",
        _PATH,
        "data.zip_files:open_zip",
        suffixes=(".zip",),
        knows_splits=True,
    ),
    SourceKind(
        "idx",
        "an IDX file such as train-images-idx3-ubyte.gz",
        "images of MNIST's format, with the labels beside them",
        _ROW,
        "data.idx_files:open_idx",
        suffixes=("-idx3-ubyte", ".idx3-ubyte", "-idx3-ubyte.gz", ".idx3-ubyte.gz"),
    ),
    SourceKind(
        "list",
        "list:FILE.csv (or .jsonl, .parquet, .txt)",
        "images whose paths stand in a column",
        "path as written",
        "data.manifest:open_manifest",
        beginning="list:",
        knows_splits=True,
    ),
    SourceKind(
        "hub", "hf:OWNER/NAME", _HUB, _ROW, f"{_SETS}:open_hub", beginning="hf:", knows_splits=True
    ),
)

KINDS: dict[str, SourceKind] = {kind.name: kind for kind in _TABLE}
SOURCES = ", ".join(kind.written for kind in _TABLE[:-1]) + f" or {_TABLE[-1].written}"
"""How sources are written, for refusals."""
SOURCE_HELP = f"{SOURCES}; [a:b] at the end takes a range."
"""What may be given as a source, for help."""
