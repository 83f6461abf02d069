"""From features that another program computed to a store, shard by shard."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from dtrak_stream.errors import ConfigurationError, InterruptedRunError
from dtrak_stream.exchange.declaration import DeclaredFeatures
from dtrak_stream.exchange.destination import Destination
from dtrak_stream.exchange.feature_array import ArrayOptions, open_feature_array
from dtrak_stream.exchange.sample_ids import choose_sample_ids
from dtrak_stream.exchange.scaled_rows import RowRules, ScaledRows
from dtrak_stream.store import StoreLayout
from dtrak_stream.support.progress import progress, say
from dtrak_stream.support.provenance import record_run

_MAX_ROWS_PER_SHARD = 2**31


@dataclass(frozen=True)
class ImportConfig:
    """Bring features that TRAK, D-TRAK or another program computed into a store, resumably.

    The array does not say what it holds, so that has to be declared; shape, type, ids and every
    number are checked before the first shard is written. Import the features of the training
    images and of the queries with the same declarations, into two stores, and tools/gram.py and
    tools/score.py take them as they take stores of tools/featurize.py. Features that D-TRAK
    wrote: --array-shape 5000x65536 --array-dtype float32 --used-dim 32768 --projector normal
    --scale "1/sqrt(k)".
    """

    array: tyro.conf.OmitArgPrefixes[ArrayOptions]
    store: Path
    """Folder of the feature store to write, or to continue."""
    features: tyro.conf.OmitArgPrefixes[DeclaredFeatures]
    ids: Path | None = None
    """File with the id of each sample, one a line, in the order of the store."""
    images: str | None = None
    """Image source whose ids the samples have, in its order, so that a report can show them. \
Default without --ids: row numbers."""
    rules: tyro.conf.OmitArgPrefixes[RowRules] = field(default_factory=RowRules)
    dtype: Literal["float16", "float32"] = "float32"
    """How features are stored; float16 has a scale for each row, and half the size."""
    rows_per_shard: int = 1024
    """Samples in one file of the store; a crash costs at most one shard of work."""
    redo_corrupt: bool = False
    """Write shards again that are truncated or fail their checksum, instead of refusing."""
    quiet: bool = False
    """Draw no progress bars."""


@dataclass(frozen=True)
class ImportResult:
    """What importing did.

    Attributes
    ----------
    path
        Folder of the store.
    quarantined
        Number of samples without a feature.
    computed
        Number of samples written by this call; 0 if the store was already complete.
    """

    path: Path
    quarantined: int
    computed: int


def import_features(config: ImportConfig) -> ImportResult:
    """Check an array of features, and bring it into a store from wherever that is.

    Raises
    ------
    InputError
        If the array or the ids are not what is declared, or a row is no feature.
    ConfigurationError
        If a declaration is missing or has no such value.
    FingerprintMismatchError
        If the store was begun from another array, or declared otherwise.
    CorruptFileError
        If a shard is damaged and `redo_corrupt` is not set.
    DiskFullError, MemoryLimitError
        If the store or a shard cannot fit.
    InterruptedRunError
        On Ctrl-C. Finished shards are kept.
    """
    _check(config)
    rows = _open(config)
    images = rows.check(config.rules, visible=not config.quiet)
    fingerprint = config.features.fingerprint(
        rows.array, images=images, dtype=config.dtype, rows_per_shard=config.rows_per_shard
    )
    layout = StoreLayout(config.store, fingerprint)
    destination = Destination(layout, config.redo_corrupt, not config.quiet)
    missing = destination.take_up()
    if not (config.store / "config.yaml").exists():
        record_run(config.store / "config.yaml", config)
    _write(rows, destination, missing)
    quarantined = destination.finish()
    _say_outcome(layout, len(missing), quarantined)
    written = sum(len(layout.shard_rows(shard)) for shard in missing)
    return ImportResult(config.store, quarantined, written)


def _check(config: ImportConfig) -> None:
    if not 1 <= config.rows_per_shard <= _MAX_ROWS_PER_SHARD:
        raise ConfigurationError(
            f"must be from 1 to {_MAX_ROWS_PER_SHARD:,}",
            where=f"--rows-per-shard {config.rows_per_shard}",
            remedy="change it",
        )


def _open(config: ImportConfig) -> ScaledRows:
    array = open_feature_array(config.array)
    factor = config.features.factor(array.used_dim)
    ids = choose_sample_ids(
        len(array), ids=config.ids, images=config.images, visible=not config.quiet
    )
    # a wrong declaration is refused before the long pass over all rows
    config.features.fingerprint(array, images="", dtype=config.dtype, rows_per_shard=1)
    return ScaledRows(array, factor, ids, config.array.array)


def _write(rows: ScaledRows, destination: Destination, missing: list[int]) -> None:
    layout = destination.layout
    with progress(
        layout.num_shards,
        description="importing",
        unit="shard",
        done=layout.num_shards - len(missing),
        visible=destination.visible,
    ) as bar:
        try:
            for shard in missing:
                held = layout.shard_rows(shard)
                features = rows.block(held.start, held.stop)
                destination.write(shard, features, rows.ids(held.start, held.stop))
                bar.update()
        except KeyboardInterrupt as interrupt:
            finished = layout.num_shards - len(layout.missing_shards())
            raise InterruptedRunError(
                f"{finished} of {layout.num_shards} shards of {layout.root} are done and kept"
            ) from interrupt


def _say_outcome(layout: StoreLayout, written: int, quarantined: int) -> None:
    done = f"{written} shards written" if written else "already complete"
    say(f"{layout.root}: {done}, {layout.fingerprint.samples:,} rows in {layout.num_shards} shards")
    if quarantined:
        say(f"{quarantined:,} samples quarantined, see {layout.quarantine_path}")
