"""The features of a store as an array for other programs, and what brings them back."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import yaml

from dtrak_stream.exchange.array_writers import Shape
from dtrak_stream.exchange.declaration import NO_TIMESTEPS
from dtrak_stream.exchange.sample_ids import write_ids
from dtrak_stream.projectors.table import PROJECTORS
from dtrak_stream.store.fingerprint import Fingerprint
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.shard import FloatArray
from dtrak_stream.support.names import each_of


class ExportedFeatures:
    """The rows of a store, one after the other, with or without those of quarantined samples.

    Samples that were removed have no row.

    Parameters
    ----------
    store
        The store.
    skip
        True: quarantined samples have no row. False: theirs is NaN.
    """

    name = "features"

    def __init__(self, store: FeatureStore, *, skip: bool) -> None:
        self._store = store
        self._usable = store.usable()
        self._rows = self._usable.copy() if skip else np.ones(len(store), np.bool_)
        self._rows[store.layout.removed.rows] = False

    @property
    def shape(self) -> Shape:
        """Return (rows, k)."""
        return int(self._rows.sum()), self._store.proj_dim

    @property
    def left_out(self) -> int:
        """Return the number of quarantined samples."""
        return int((~self._usable).sum()) - len(self._store.layout.removed)

    def blocks(self) -> Iterator[FloatArray]:
        """Yield (n, k) float32 in the order of the store."""
        for shard in range(self._store.layout.num_shards):
            for rows, features in self._store.blocks(shard):
                part = slice(rows.start, rows.stop)
                features[~self._usable[part]] = np.nan
                chosen = self._rows[part]
                yield features if chosen.all() else features[chosen]

    def about(self) -> dict[str, str]:
        """Return what the file tells about itself."""
        fingerprint = self._store.fingerprint
        return {
            "content": "features, scaled so that E<Px,Py> = <x,y>",
            "output_function": fingerprint.output_function,
            "projector": fingerprint.projector,
            "fingerprint": self._store.layout.state,
        }

    @property
    def subject(self) -> str:
        """Return what the features are of."""
        return self._store.layout.begun

    def beside(self, out: Path) -> dict[Path, Callable[[Path], object]]:
        """Return what writes `OUT.ids.txt`, and `OUT.import.yaml`, which an import has to know."""
        names = out.with_name(out.name + ".ids.txt")
        files: dict[Path, Callable[[Path], object]] = {names: self._write_ids}
        if out.suffix == ".npy":
            text = yaml.safe_dump(declaration(self._store.fingerprint, out, names))
            files[out.with_name(out.name + ".import.yaml")] = lambda path: path.write_text(text)
        return files

    def _write_ids(self, path: Path) -> None:
        ids = each_of(self._store.ids)
        write_ids(path, itertools.compress(ids, self._rows))


def declaration(fingerprint: Fingerprint, array: Path, ids: Path) -> dict[str, object]:
    """Return the options with which dtrak-stream import-features takes exported features back."""
    known = fingerprint.projector in PROJECTORS
    steps = ",".join(map(str, fingerprint.timesteps))
    return {
        "array": str(array),
        "ids": str(ids),
        "source": f"{fingerprint.model}, weights {fingerprint.weights}, parameters "
        f"{fingerprint.parameters}, computed in {fingerprint.precision}",
        "output-function": fingerprint.output_function,
        "timesteps": f"list:{steps}" if steps else NO_TIMESTEPS,
        "num-train-timesteps": max(1000, *fingerprint.timesteps, 0) + 1,
        "projector": fingerprint.projector if known else "other",
        "projector-name": f"{fingerprint.projector}, version {fingerprint.projector_version}",
        "scale": "1",
        "image-shape": fingerprint.image_shape,
        "noise": fingerprint.noise_keying,
        "noise-draws": fingerprint.noise_draws,
        "seed": fingerprint.seed,
        "num-parameters": fingerprint.num_parameters,
        "zero-rows": "keep",
        "bad-rows": "quarantine",
        "dtype": "float32",
        "rows-per-shard": fingerprint.rows_per_shard,
    }
