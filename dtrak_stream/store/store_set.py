"""Stores that one run fills side by side: one, or one for each of several features of a sample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dtrak_stream.errors import InputError
from dtrak_stream.store.fingerprint import Fingerprint
from dtrak_stream.store.layout import StoreLayout, layout_of, read_layout
from dtrak_stream.store.shard import FloatArray


@dataclass(frozen=True)
class StoreSet:
    """Stores of the same samples and the same shards; they differ in the feature only.

    Attributes
    ----------
    root
        What the user called the store.
    layouts
        One for each feature of a sample, in the order of their columns in a row.
    """

    root: Path
    layouts: tuple[StoreLayout, ...]

    @classmethod
    def of(cls, root: Path, fingerprints: tuple[Fingerprint, ...]) -> StoreSet:
        """Return the set for these fingerprints.

        The store is `root` itself if there is only one, else `root/probe-000` and so on.
        """
        folders = store_folders(root, len(fingerprints))
        return cls(root, tuple(map(layout_of, folders, fingerprints)))

    def refuse_foreign_root(self) -> None:
        """Refuse a root that holds anything else than the stores of the set.

        Raises
        ------
        InputError
            Naming what is there.
        """
        if len(self.layouts) == 1 or not self.root.exists():
            return
        ours = {layout.root for layout in self.layouts}
        foreign = sorted(set(self.root.iterdir()) - ours) if self.root.is_dir() else [self.root]
        if foreign:
            raise InputError(
                f"holds {foreign[0].name}, which is none of its {len(ours)} probes"
                if self.root.is_dir()
                else "not a folder",
                where=self.root,
                remedy="give a new or empty folder as --store",
            )

    @property
    def num_shards(self) -> int:
        """Return the number of shards of each store when complete."""
        return self.layouts[0].num_shards

    def shard_rows(self, shard: int) -> range:
        """Return the rows that a shard holds."""
        return self.layouts[0].shard_rows(shard)

    @property
    def progress(self) -> str:
        """Return how many shards are there, for a reader."""
        finished = self.num_shards - len(self.missing_shards())
        return f"{finished} of {self.num_shards} shards of {self.root}"

    def missing_shards(self) -> list[int]:
        """Return the shards that some store lacks."""
        return sorted({shard for layout in self.layouts for shard in layout.missing_shards()})

    def without_shard(self, shard: int) -> list[tuple[int, StoreLayout]]:
        """Return number and layout of the stores that lack a shard."""
        return [
            (number, layout)
            for number, layout in enumerate(self.layouts)
            if not layout.shard_path(shard).exists()
        ]

    def columns(self, number: int, features: FloatArray) -> FloatArray:
        """Return the columns of rows (rows, width) that go to store `number`: (rows, k)."""
        return np.split(features, len(self.layouts), axis=1)[number]

    def run_record(self) -> dict[str, Any]:
        """Return what the first store tells of how its features are computed."""
        return self.layouts[0].run_record()

    def write_run_record(self, record: dict[str, Any]) -> None:
        """Keep that in all of them."""
        for layout in self.layouts:
            layout.write_run_record(record)


def store_folders(root: Path, count: int) -> tuple[Path, ...]:
    """Return where the stores of a set are that `root` names."""
    if count == 1:
        return (root,)
    return tuple(root / f"probe-{number:03d}" for number in range(count))


def store_roots(root: Path) -> tuple[Path, ...]:
    """Return the stores at `root`: itself, or those of its probes in their order."""
    probes = sorted(root.glob("probe-[0-9][0-9][0-9]"))
    return tuple(probes) if probes and not (root / "store.json").exists() else (root,)


def bandwidth_of(root: Path) -> float | None:
    """Return the bandwidth of random Fourier features at `root`; None for other features."""
    return read_layout(store_roots(root)[0]).fingerprint.bandwidth


def refuse_other_streams(store: Path, stream: str) -> None:
    """Refuse to put stores of several streams of features into one of a single stream, or it there.

    Parameters
    ----------
    store
        Where a run puts features: the store itself, or the folder of its probes.
    stream
        Name of the stream that they are for, and of that folder; nothing where there is one only.

    Raises
    ------
    InputError
        Naming what is there.
    """
    folder = store.parent if stream else store
    if stream:
        told = "one stream alone" if (folder / "store.json").exists() else ""
    else:
        inside = {path.parts[len(folder.parts)] for path in folder.glob("**/store.json")}
        streams = sorted(name for name in inside - {"store.json"} if not name.startswith("probe-"))
        told = f"several streams ({', '.join(streams)})" if streams else ""
    if told:
        raise InputError(
            f"holds features of a method of {told}",
            where=folder,
            remedy="give another --run, or the --method that it was begun with",
        )
