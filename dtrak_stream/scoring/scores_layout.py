"""What a scores file holds: the names of its parts, their shapes, and how it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from dtrak_stream.data.source import open_regular, unreadable
from dtrak_stream.errors import CorruptFileError, InputError
from dtrak_stream.scoring.transforms import TRANSFORMS
from dtrak_stream.support.destinations import FileKind, holds_hdf5
from dtrak_stream.support.hdf5_members import refuse_foreign_members
from dtrak_stream.support.obstacles import refuse_unavailable

Side = Literal["query", "train"]

FITTED_TO = "fitted_to_truth"
"""Attribute of scores that were fitted to retrained models: which truth they were fitted to."""
FITTED_SUBSETS = "fitted_to_subsets"
"""Attribute of the same: which of its subsets, such as 0:32."""

SEEN = "seen"
"""Dataset of the probabilities that the model saw a training image."""

SIDES: tuple[Side, ...] = ("train", "query")

RANKINGS = ("top_index", "top_score", "bottom_index", "bottom_score")
"""The data sets (Q, top_k) that every file has for each lambda."""
WRITE_AGAIN = "write it again with dtrak-stream score"
"""What to do about a file that is not whole."""

_SUBJECT = ("train_fingerprint", "query_fingerprint", FITTED_TO, "loss_key")
_RANKED_ERRORS = ("top_score_error", "bottom_score_error")
_IDS = ("query_id", "train_id")
_DAMPING_GROUP = "damping_"
_ATTRIBUTES = ("method", "transform", "image_shape")
SCORES_FILE = FileKind(
    "a scores file",
    "dtrak-stream score",
    holds_hdf5(*_IDS, attributes=("method", "transform", "sign_convention")),
)


def subject_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes that say what scores are of, whatever was done to get them.

    A store that samples were appended to or removed from is what it was begun as.
    """
    subject = {name: attributes.get(name) for name in _SUBJECT}
    for side in SIDES:
        name = f"{side}_fingerprint"
        subject[name] = attributes.get(f"{side}_begun", subject[name])
    return subject


def damping_numbers(path: Path) -> tuple[int | None, ...]:
    """Return the numbers of the lambdas that a file holds scores for; (None,) without a list.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    with open_scores(path) as file:
        count = len(damping_names(file))
    return tuple(range(count)) if count else (None,)


def damping_names(file: Any) -> list[str]:
    """Return the groups of an open HDF5 file that hold the scores of a list of lambdas."""
    return sorted(name for name in file if name.startswith(_DAMPING_GROUP))


def damping_group(damping: int) -> str:
    """Return the name of the group that holds the scores of one lambda of a list."""
    return f"{_DAMPING_GROUP}{damping:03d}"


def open_scores(path: Path) -> h5py.File:
    """Open a file that holds all of its data itself.

    Raises
    ------
    InputError
        If it cannot be read, or shows data of other files.
    """
    try:
        open_regular(path).close()  # HDF5 would wait for a pipe
    except FileNotFoundError as error:
        remedy = "run dtrak-stream score first"
        raise InputError("does not exist", where=path, remedy=remedy) from error
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise unreadable_scores(path, error) from error
    try:
        refuse_foreign_members(file, path)
    except (OSError, KeyError, RuntimeError) as error:
        file.close()
        raise unreadable_scores(path, error) from error
    except BaseException:
        file.close()
        raise
    return file


def root_of(file: h5py.File, damping: int | None, path: Path) -> Any:
    """Return the group of a file that holds the scores of one lambda: the file without a list.

    Raises
    ------
    InputError
        If it has no such lambda.
    """
    count = len(damping_names(file))
    if damping is None and not count:
        return file
    if damping is None or not 0 <= damping < count:
        raise InputError(
            f"holds scores for a list of {count} dampings, not for "
            f"{'one' if damping is None else f'number {damping}'}",
            where=path,
            remedy=f"choose one, from 0 to {count - 1}" if count else "choose none",
        )
    return file[damping_group(damping)]


def require_parts(file: h5py.File, root: Any, path: Path) -> None:
    """Refuse a file that lacks a part of the scores in `root`, or whose parts contradict.

    Raises
    ------
    InputError
        If it is not a scores file, or has a transform that is not known here.
    CorruptFileError
        If its parts do not fit together.
    """
    missing = [name for name in _IDS if name not in file]
    missing += [name for name in RANKINGS if name not in root]
    missing += [name for name in _ATTRIBUTES if name not in file.attrs]
    if has_errors(root) or file.attrs.get("error_bars", False):
        missing += [name for name in _error_names(root) if name not in root]
    if missing:
        raise InputError(
            f"not a scores file: it has no {', '.join(missing)}",
            where=path,
            remedy="give the scores.h5 that dtrak-stream score wrote",
        )
    transform = plain(file.attrs["transform"])
    if transform not in TRANSFORMS:
        raise InputError(
            f"its scores have a transform that is not known here ({transform})",
            where=path,
            remedy="read it with the version of dtrak_stream that wrote it",
        )
    _require_shapes(file, root, path)


def has_errors(root: Any) -> bool:
    """Return whether scores have error bars."""
    return "top_score_error" in root


def unreadable_scores(path: Path, error: OSError | KeyError | RuntimeError) -> InputError:
    """Return the refusal of a file that HDF5 cannot read.

    Raises
    ------
    UnavailableError
        If it is locked, or out of reach in another way.
    """
    refuse_unavailable(path, error)
    return InputError(
        f"cannot be read as HDF5 ({str(error).splitlines()[0]})", where=path, remedy=WRITE_AGAIN
    )


def plain(value: Any) -> Any:
    """Return an attribute as a plain Python value."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    return text_of(value) if isinstance(value, bytes) else value


def text_of(value: bytes) -> str:
    """Return a name as it is shown."""
    return value.decode("utf-8", errors="replace")


def _require_shapes(file: h5py.File, root: Any, path: Path) -> None:
    queries, samples = len(file["query_id"]), len(file["train_id"])
    expected = dict.fromkeys(RANKINGS, (queries, root["top_index"].shape[-1]))
    if "scores" in root:
        expected["scores"] = (queries, samples)
        if has_errors(root):
            expected["score_error"] = expected["scores"]
    if has_errors(root):
        expected |= dict.fromkeys(_RANKED_ERRORS, expected["top_score"])
    if SEEN in file and file[SEEN].shape != (samples,):
        what = f"{SEEN} has shape {file[SEEN].shape}"
        raise CorruptFileError(what, where=path, remedy=WRITE_AGAIN)
    for name, shape in expected.items():
        if root[name].shape != shape:
            found = root[name].shape
            what = f"{name} has shape {found}, the rest of the file wants {shape}"
            raise CorruptFileError(what, where=path, remedy=WRITE_AGAIN)


def _error_names(root: Any) -> tuple[str, ...]:
    return (*_RANKED_ERRORS, "score_error") if "scores" in root else _RANKED_ERRORS
