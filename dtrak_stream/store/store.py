"""A sharded feature store on disk: its layout, its plan, and reading it block by block."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dtrak_stream.durable import write_bytes
from dtrak_stream.errors import CorruptFileError, InputError
from dtrak_stream.store.fingerprint import Fingerprint
from dtrak_stream.store.shard import FloatArray, ShardRows, in_memory_file, read_shard

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
            "fingerprint": asdict(self.fingerprint),
            "fingerprint_hash": self.fingerprint.hash(),
            "num_shards": self.num_shards,
        }


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
    with in_memory_file() as file:
        first = _open_shapes(layout.shard_path(0))
        for name, (dtype, width) in first.items():
            shape = (layout.fingerprint.samples, *width)
            virtual = h5py.VirtualLayout(shape=shape, dtype=_widest(layout, name, dtype))
            for shard in range(layout.num_shards):
                rows = layout.shard_rows(shard)
                relative = layout.shard_path(shard).relative_to(layout.root)
                source_type, source_width = _open_shapes(layout.shard_path(shard))[name]
                virtual[rows.start : rows.stop] = h5py.VirtualSource(
                    str(relative), name, shape=(len(rows), *source_width), dtype=source_type
                )
            file.create_virtual_dataset(name, virtual)
        file.attrs["fingerprint"] = layout.fingerprint.hash()
        file.flush()
        image = file.id.get_file_image()
    write_bytes(layout.root / "features.h5", image)


def _open_shapes(path: Path) -> dict[str, tuple[Any, tuple[int, ...]]]:
    with h5py.File(path, "r") as file:
        return {name: (file[name].dtype, file[name].shape[1:]) for name in file}


def _widest(layout: StoreLayout, name: str, dtype: Any) -> Any:
    if name != "sample_id":
        return dtype
    shards = range(layout.num_shards)
    sizes = (_open_shapes(layout.shard_path(i))[name][0].itemsize for i in shards)
    return np.dtype(f"S{max(sizes)}")


class FeatureStore:
    """A complete store, read shard by shard; every shard is checked as it is read."""

    def __init__(self, layout: StoreLayout) -> None:
        self.layout = layout
        self.fingerprint = layout.fingerprint

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
        """Map a shard and check it; see `read_shard`."""
        return read_shard(self.layout.shard_path(shard), self.fingerprint.hash())

    def blocks(self, shard: int) -> Iterator[tuple[range, FloatArray]]:
        """Yield (rows, features) of a shard in order: features are (len(rows), k) float32."""
        contents = self.shard(shard)
        first = self.layout.shard_rows(shard).start
        for start in range(0, len(contents.scale), self.block_rows):
            part = slice(start, min(start + self.block_rows, len(contents.scale)))
            features = contents.features[part].astype(np.float32)
            features *= contents.scale[part, None]
            yield range(first + part.start, first + part.stop), features

    def scales(self) -> FloatArray:
        """Return the scale of every row: (N,) float32, 0 for quarantined samples."""
        return self._joined("scale")

    def usable(self) -> NDArray[np.bool_]:
        """Return which rows are samples with a feature: (N,)."""
        return self.scales() > 0

    def sample_ids(self) -> NDArray[np.bytes_]:
        """Return the ids of all rows: (N,) fixed-length UTF-8."""
        return self._joined("sample_id")

    def _joined(self, name: str) -> Any:
        parts = []
        for shard in range(self.layout.num_shards):
            with h5py.File(self.layout.shard_path(shard), "r") as file:
                parts.append(file[name][()])
        return np.concatenate(parts)
