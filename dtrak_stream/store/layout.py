"""Where things are in a store, and its plan, `store.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtrak_stream.errors import CorruptFileError, InputError
from dtrak_stream.store.fingerprint import Fingerprint
from dtrak_stream.support.durable import write_json

FORMAT_VERSION = 1
IMAGES_ALONE = "images"
CLASS_NAMES = "class names"
"""What a run record tells of the samples: the hash of their images, and what labels stand for."""


@dataclass(frozen=True)
class StoreLayout:
    """Where things are in a store, and which rows each shard holds.

    Attributes
    ----------
    root
        Folder of the store.
    fingerprint
        What its features depend on.
    """

    root: Path
    fingerprint: Fingerprint

    @property
    def plan_path(self) -> Path:
        """Return the path of `store.json`."""
        return self.root / "store.json"

    @property
    def quarantine_path(self) -> Path:
        """Return the path of the ledger of bad samples."""
        return self.root / "quarantine.jsonl"

    @property
    def joined_view_path(self) -> Path:
        """Return the path of the virtual array over all shards."""
        return self.root / "features.h5"

    @property
    def shards_folder(self) -> Path:
        """Return the folder that holds the shards."""
        return self.root / "shards"

    @property
    def num_shards(self) -> int:
        """Return the number of shards when complete."""
        return -(-self.fingerprint.samples // self.fingerprint.rows_per_shard)

    def shard_path(self, shard: int) -> Path:
        """Return the path of a shard."""
        return self.shards_folder / f"{shard:08d}.h5"

    def shard_rows(self, shard: int) -> range:
        """Return the rows of the store that a shard holds."""
        size = self.fingerprint.rows_per_shard
        return range(shard * size, min((shard + 1) * size, self.fingerprint.samples))

    def missing_shards(self) -> list[int]:
        """Return the shards that do not exist under their final name."""
        return [i for i in range(self.num_shards) if not self.shard_path(i).exists()]

    def plan(self) -> dict[str, Any]:
        """Return the contents of `store.json`."""
        return {
            "format_version": FORMAT_VERSION,
            "fingerprint": self.fingerprint.recorded(),
            "fingerprint_hash": self.fingerprint.hash(),
            "num_shards": self.num_shards,
        }

    def plan_hash(self) -> str:
        """Return the hash of the fingerprint as `store.json` tells it."""
        return str(json.loads(self.plan_path.read_text()).get("fingerprint_hash"))

    def run_record(self) -> dict[str, Any]:
        """Return what `store.json` tells of how the features were computed, and how fast."""
        record: dict[str, Any] = json.loads(self.plan_path.read_text()).get("run", {})
        return record

    def images_alone(self) -> str:
        """Return the hash of the images that the samples are, or are made of; "" if not known.

        That of the samples, in the fingerprint, is another one where captions, labels or sampling
        paths make a sample besides.
        """
        return str(self.run_record().get(IMAGES_ALONE, ""))

    def class_names(self) -> tuple[str, ...] | None:
        """Return what the labels of the samples stand for, in their order; None for nothing."""
        names = self.run_record().get(CLASS_NAMES)
        return None if names is None else tuple(names)

    def write_run_record(self, record: dict[str, Any]) -> None:
        """Replace that. Nothing in it decides a feature."""
        write_json(self.plan_path, {**self.plan(), "run": record})


def read_layout(root: Path) -> StoreLayout:
    """Return the layout of an existing store.

    Raises
    ------
    InputError
        If there is no store, or it was written by another version of the format.
    CorruptFileError
        If `store.json` cannot be read.
    """
    path = root / "store.json"
    if not path.is_file():
        raise InputError(
            "not a feature store (no store.json)",
            where=root,
            remedy="give a folder that dtrak-stream featurize wrote",
        )
    try:
        plan = json.loads(path.read_text())
        version = plan["format_version"]
        layout = StoreLayout(root, Fingerprint.of_record(plan["fingerprint"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptFileError(
            f"not readable ({error})", where=path, remedy="featurize into another --store"
        ) from error
    if version != FORMAT_VERSION:
        raise InputError(
            f"written in format {version}, this version reads {FORMAT_VERSION}",
            where=path,
            remedy="featurize again, or use the version of dtrak_stream that wrote it",
        )
    return layout
