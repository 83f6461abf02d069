"""The truth file: which images each retrained model saw, and the loss of each query under it.

An npz of `mask` (M, N) bool, `loss` (M, Q) float64, with more than one seed `loss_seeds`
(S, M, Q; NaN where a subset has no model of that seed), `query_id` (Q,), `train_id` (N,) and
`attributes`, a JSON string. Further sets of queries are `loss_NAME`, `loss_NAME_seeds` and
`query_id_NAME`. A file of another program is read as well: `mask` and losses (M, Q) under any KEY
that is asked for are enough; `KEY_seeds` and `query_id_KEY` go with it where they are there.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.data.array_files import map_npz
from dtrak_stream.errors import CorruptFileError, InputError
from dtrak_stream.evaluation.options import LOSS_KEY
from dtrak_stream.support.destinations import FileKind
from dtrak_stream.support.durable import durable_path

IMAGES_ALONE = "images-alone"
"""Under this name: the hash of images without the captions or labels they are told with."""
REPEATED_SUBSETS = "repeated-subsets"
"""Under this name: how many subsets, the first ones, have models of all seeds, if not all have."""
_REMEDY = "give a truth file that dtrak-stream retrain-subsets wrote"


def is_truth(path: Path) -> bool:
    """Return whether a file is a truth file that this package wrote."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        return "recipe" in TruthFile(path).attributes
    except (InputError, CorruptFileError):
        return False


TRUTH_FILE = FileKind("a truth file", "dtrak-stream retrain-subsets", is_truth)


def loss_key(name: str | None) -> str:
    """Return the key of the losses of a set of queries; None is the first set."""
    return LOSS_KEY if name is None else f"{LOSS_KEY}_{name}"


def _is_ours(key: str) -> bool:
    return key == LOSS_KEY or key.startswith(f"{LOSS_KEY}_")


def seeds_key(key: str) -> str:
    """Return the key of the losses of every seed."""
    return f"{key}_seeds"


def query_id_key(key: str) -> str:
    """Return the key of the sample ids of the queries whose losses are under `key`."""
    return f"query_id_{key}" if not _is_ours(key) else "query_id" + key.removeprefix(LOSS_KEY)


def encoded_ids(ids: Iterable[str]) -> NDArray[np.bytes_]:
    """Return sample ids as UTF-8 bytes of one length."""
    return np.array([sample_id.encode() for sample_id in ids], dtype=np.bytes_)


def write_truth(
    path: Path, arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any]
) -> None:
    """Write a truth file; equal contents give equal bytes."""
    members: dict[str, Any] = {"attributes": np.array(json.dumps(attributes, sort_keys=True))}
    with durable_path(path) as partial, partial.open("wb") as file:
        np.savez(file, **(members | dict(arrays)))


class TruthFile:
    """A truth file, open for reading. The mask is mapped from disk, not loaded.

    Parameters
    ----------
    path
        The npz file.

    Raises
    ------
    InputError
        If it cannot be read, or has no mask.
    CorruptFileError
        If its parts do not fit together.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mask = self._member("mask")
        """(M, N) bool."""
        if self.mask.ndim != 2 or self.mask.dtype.kind not in "biu":
            raise self._corrupt(f"mask is {self.mask.dtype} of shape {self.mask.shape}")
        with np.load(path, allow_pickle=False) as archive:
            self.keys = tuple(archive.files)
            """Names of all arrays."""
        self.attributes: dict[str, Any] = self._attributes()
        """What the models and the losses are."""

    @property
    def loss_keys(self) -> tuple[str, ...]:
        """Return the keys of the losses of each set of queries, as this package names them."""
        return tuple(key for key in self.keys if _is_ours(key) and not key.endswith("_seeds"))

    @property
    def train_images(self) -> str | None:
        """Return the hash of the training images; None if the file does not tell."""
        recipe = self._facts("recipe")
        return _text(recipe.get(IMAGES_ALONE, recipe.get("image-identity")))

    def query_images(self, key: str) -> str | None:
        """Return the hash of the queries whose losses are under `key`; None if it does not tell."""
        facts = self._facts("queries").get(key)
        if not isinstance(facts, dict):
            return None
        return _text(facts.get(IMAGES_ALONE, facts.get("queries")))

    @property
    def image_shape(self) -> str | None:
        """Return the shape of all images, such as 3x32x32; None if the file does not tell."""
        return _text(self.attributes.get("image-shape"))

    def loss(self, key: str) -> NDArray[np.float64]:
        """Return the losses (M, Q) float64; NaN is a query that could not be read.

        Raises
        ------
        InputError
            If there are none under this key.
        CorruptFileError
            If they do not fit the mask, or are infinite.
        """
        if key not in self.keys:
            there = ", ".join(filter(self._fits, self.keys)) or "none"
            raise InputError(
                f"holds no losses {key!r}, but {there}",
                where=self.path,
                remedy="choose one of those with --loss-key",
            )
        member = self._member(key)
        if not self._fits(key):
            raise self._corrupt(
                f"{key} is {member.dtype} of shape {member.shape}, no losses of "
                f"{len(self.mask)} subsets"
            )
        loss = np.asarray(member, dtype=np.float64)
        if np.isinf(loss).any():
            raise self._corrupt(f"{key} holds infinite numbers")
        return loss

    def loss_of_seeds(self, key: str) -> NDArray[np.float64] | None:
        """Return the losses of every seed (S, M, Q); None if there is one seed only.

        NaN is a query that could not be read, or all of a subset that has no model of that seed.
        """
        if seeds_key(key) not in self.keys:
            return None
        losses = np.asarray(self._member(seeds_key(key)), dtype=np.float64)
        if losses.ndim != 3 or losses.shape[1:] != self.loss(key).shape:
            raise self._corrupt(f"{seeds_key(key)} of shape {losses.shape} does not fit {key}")
        return losses

    def query_ids(self, key: str) -> list[str] | None:
        """Return the sample ids of the queries; None if the file does not name them."""
        if query_id_key(key) not in self.keys:
            return None
        return [value.decode() for value in self._member(query_id_key(key)).tolist()]

    def train_ids(self) -> NDArray[np.bytes_] | None:
        """Return the sample ids (N,) of the training images, mapped; None if not named."""
        return self._member("train_id") if "train_id" in self.keys else None

    def _facts(self, name: str) -> dict[str, Any]:
        facts = self.attributes.get(name)
        return facts if isinstance(facts, dict) else {}

    def _fits(self, key: str) -> bool:
        """Return whether an array can be losses (M, Q)."""
        if key in ("mask", "attributes"):
            return False
        member = self._member(key)
        numbers = member.dtype.kind in "fiu"
        return numbers and member.ndim == 2 and len(member) == len(self.mask)

    def _member(self, key: str) -> NDArray[Any]:
        return map_npz(self.path, key)[0]

    def _attributes(self) -> dict[str, Any]:
        if "attributes" not in self.keys:
            return {}
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                attributes = json.loads(str(archive["attributes"]))
        except ValueError as error:
            raise self._corrupt(f"its attributes are not JSON ({error})") from error
        return attributes if isinstance(attributes, dict) else {}

    def _corrupt(self, what: str) -> CorruptFileError:
        return CorruptFileError(what, where=self.path, remedy=_REMEDY)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
