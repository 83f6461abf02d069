"""A sharded feature store on disk: its layout, its plan, and reading it block by block."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dtrak_stream.errors import CorruptFileError, InputError
from dtrak_stream.store.fingerprint import Fingerprint
from dtrak_stream.store.sample_ids import StoreIds
from dtrak_stream.store.shard import (
    FloatArray,
    ShardRows,
    corrupt_shard,
    in_memory_file,
    read_shard,
)
from dtrak_stream.support.durable import write_bytes, write_json

FORMAT_VERSION = 1
BLOCK_BYTES = 64 * 2**20


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

    def run_record(self) -> dict[str, Any]:
        """Return what `store.json` tells of how the features were computed, and how fast."""
        record: dict[str, Any] = json.loads(self.plan_path.read_text()).get("run", {})
        return record

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
            remedy="give a folder that tools/featurize.py wrote",
        )
    try:
        plan = json.loads(path.read_text())
        version = plan["format_version"]
        fields = {**plan["fingerprint"], "timesteps": tuple(plan["fingerprint"]["timesteps"])}
        layout = StoreLayout(root, Fingerprint(**fields))
    except (ValueError, KeyError, TypeError) as error:
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


def write_joined_view(layout: StoreLayout) -> None:
    """Write `features.h5`: one virtual array over all shards, for anyone with h5py."""
    shards = [_datasets(layout.shard_path(shard)) for shard in range(layout.num_shards)]
    with in_memory_file() as file:
        for name in shards[0]:
            file.create_virtual_dataset(name, _virtual(layout, name, [s[name] for s in shards]))
        file.attrs["fingerprint"] = layout.fingerprint.hash()
        file.flush()
        image = file.id.get_file_image()
    write_bytes(layout.root / "features.h5", image)


def _datasets(shard: Path) -> dict[str, tuple[tuple[int, ...], Any]]:
    with h5py.File(shard, "r") as file:
        return {name: (file[name].shape, file[name].dtype) for name in file}


def _virtual(layout: StoreLayout, name: str, parts: list[tuple[tuple[int, ...], Any]]) -> Any:
    # ids are as wide as the longest in their shard; the joined array takes the widest
    widest = max((dtype for _, dtype in parts), key=lambda dtype: dtype.itemsize)
    shape = (layout.fingerprint.samples, *parts[0][0][1:])
    joined = h5py.VirtualLayout(shape=shape, dtype=widest)
    joined.dcpl.set_obj_track_times(False)  # the same store has the same bytes at any time
    for shard, (part_shape, dtype) in enumerate(parts):
        rows = layout.shard_rows(shard)
        relative = layout.shard_path(shard).relative_to(layout.root)
        source = h5py.VirtualSource(str(relative), name, shape=part_shape, dtype=dtype)
        joined[rows.start : rows.stop] = source
    return joined


class FeatureStore:
    """A complete store, read shard by shard; every shard is checked as it is read."""

    def __init__(self, layout: StoreLayout) -> None:
        self.layout = layout
        self.fingerprint = layout.fingerprint
        self._checked: set[int] = set()
        self._scales: FloatArray | None = None

    @classmethod
    def open(cls, root: Path) -> FeatureStore:
        """Open a complete store.

        Raises
        ------
        InputError
            If it is not a store, or some shards are still missing.
        """
        layout = read_layout(root)
        missing = layout.missing_shards()
        if missing:
            raise InputError(
                f"{len(missing)} of {layout.num_shards} shards are missing",
                where=root,
                remedy="run the featurize command again to finish it",
            )
        return cls(layout)

    def __len__(self) -> int:
        return self.fingerprint.samples

    @property
    def proj_dim(self) -> int:
        """Return k, the length of a feature."""
        return self.fingerprint.proj_dim

    @property
    def block_rows(self) -> int:
        """Return how many rows `blocks` gives at a time."""
        fitting = max(1, BLOCK_BYTES // (4 * self.proj_dim))
        return min(fitting, self.fingerprint.rows_per_shard)

    def shard(self, shard: int) -> ShardRows:
        """Map a shard; it is checked the first time it is asked for. See `read_shard`."""
        path, fingerprint = self.layout.shard_path(shard), self.fingerprint.hash()
        rows = read_shard(path, fingerprint, check=shard not in self._checked)
        self._checked.add(shard)
        return rows

    def blocks(self, shard: int) -> Iterator[tuple[range, FloatArray]]:
        """Yield (rows, features) of a shard in order: features are (len(rows), k) float32."""
        yield from self.blocks_of(self.layout.shard_rows(shard))

    def blocks_of(self, rows: range) -> Iterator[tuple[range, FloatArray]]:
        """Yield (rows, features) of consecutive rows in order, from one shard at a time."""
        size = self.fingerprint.rows_per_shard
        for shard in range(rows.start // size, -(-rows.stop // size)):
            contents, held = self.shard(shard), self.layout.shard_rows(shard)
            first, last = max(rows.start, held.start), min(rows.stop, held.stop)
            for start in range(first, last, self.block_rows):
                part = range(start, min(start + self.block_rows, last))
                yield part, contents.dequantised(part.start - held.start, part.stop - held.start)

    def rows(self, rows: range) -> FloatArray:
        """Return the features of consecutive rows: (len(rows), k) float32."""
        out = np.empty((len(rows), self.proj_dim), np.float32)
        size = self.fingerprint.rows_per_shard
        for shard in range(rows.start // size, -(-rows.stop // size)):
            held = self.layout.shard_rows(shard)
            start, stop = max(rows.start, held.start), min(rows.stop, held.stop)
            features = self.shard(shard).dequantised(start - held.start, stop - held.start)
            out[start - rows.start : stop - rows.start] = features
        return out

    def scales(self) -> FloatArray:
        """Return the scale of every row: (N,) float32, 0 for quarantined samples."""
        if self._scales is None:
            self._scales = self._joined("scale")
        return self._scales

    def usable(self) -> NDArray[np.bool_]:
        """Return which rows are samples with a feature: (N,)."""
        return self.scales() > 0

    @property
    def ids(self) -> StoreIds:
        """Return the ids of all rows, which are read when they are asked for."""
        return StoreIds(self.layout)

    def residuals(self) -> FloatArray:
        """Return the residual of every row: (N,) float32, 0 for quarantined samples.

        Raises
        ------
        InputError
            If the store was made without residuals.
        CorruptFileError
            If a shard has none.
        """
        if not self.fingerprint.has_residuals:
            raise InputError(
                "its rows have no residuals",
                where=self.layout.root,
                remedy="featurize with --timestep-weights unit-gradient",
            )
        residuals: FloatArray = self._joined("residual")
        return residuals

    def _joined(self, name: str) -> Any:
        fingerprint = self.fingerprint.hash()
        paths = map(self.layout.shard_path, range(self.layout.num_shards))
        # no checksums: they would take a pass over all features
        shards = ((path, read_shard(path, fingerprint, check=False)) for path in paths)
        return np.concatenate([_array_of(rows, name, path) for path, rows in shards])


def _array_of(rows: ShardRows, name: str, path: Path) -> NDArray[Any]:
    array: NDArray[Any] | None = getattr(rows, name)
    if array is None:
        raise corrupt_shard(path, f"has no {name}")
    return array
