"""From features that another program computed to a store, shard by shard."""

from __future__ import annotations

from dtrak_stream.errors import FingerprintMismatchError, InterruptedRunError
from dtrak_stream.exchange.declaration import declared_factor, declared_fingerprint
from dtrak_stream.exchange.feature_array import open_feature_array
from dtrak_stream.exchange.options import ImportConfig, ImportResult
from dtrak_stream.exchange.sample_ids import choose_sample_ids, pictures_of
from dtrak_stream.exchange.scaled_rows import ScaledRows
from dtrak_stream.store.fingerprint import Fingerprint
from dtrak_stream.store.layout import PICTURES, StoreLayout
from dtrak_stream.store.room import (
    RoomAdvice,
    bytes_while_written,
    refuse_what_cannot_fit,
    shard_rows,
)
from dtrak_stream.store.store_set import StoreSet
from dtrak_stream.store.unfinished import ComputedRows
from dtrak_stream.store.writer import StoreWriter
from dtrak_stream.support.destinations import require_folder
from dtrak_stream.support.progress import progress, say
from dtrak_stream.support.provenance import record_run

_ADVICE = RoomAdvice(
    disk="lower --used-dim, or store --dtype float16",
    memory="lower --rows-per-shard or --used-dim",
)
_BAD_ROW = "its imported feature holds NaN or inf"


def import_features(config: ImportConfig) -> ImportResult:
    """Check an array of features, and bring it into a store from wherever that is.

    Raises
    ------
    InputError
        If the array or the ids are not what is declared, or a row is no feature.
    ConfigurationError
        If a declaration is missing or has no such value.
    FingerprintMismatchError
        If the store was begun from another array, declared otherwise, or of other images.
    CorruptFileError
        If a shard is damaged and `redo_corrupt` is not set.
    DiskFullError, MemoryLimitError
        If the store or a shard cannot fit.
    InterruptedRunError
        On Ctrl-C. Finished shards are kept.
    """
    if not (config.store / "store.json").exists():
        require_folder(config.store, flag="--store")
    rows = _open(config)
    images = rows.check(config.rules, visible=not config.quiet)
    fingerprint = declared_fingerprint(
        config.features,
        rows.array,
        images=images,
        dtype=config.dtype,
        rows_per_shard=config.rows_per_shard,
    )
    stores = StoreSet.of(config.store, (fingerprint,))
    with StoreWriter(
        stores, redo_corrupt=config.redo_corrupt, visible=not config.quiet, bad_row=_BAD_ROW
    ) as writer:
        missing = writer.take_up()
        refuse_what_cannot_fit(
            stores.layouts, config.store, shard_bytes=_shard_bytes(fingerprint), advice=_ADVICE
        )
        writer.begin()
        if config.images is not None:
            _keep_pictures(config, config.images, writer)
        if not (config.store / "config.yaml").exists():
            record_run(config.store / "config.yaml", config)
        written = _write(rows, writer, missing)
        quarantined = writer.settle()
    _say_outcome(stores.layouts[0], len(written), quarantined)
    samples = sum(len(stores.shard_rows(shard)) for shard in written)
    return ImportResult(config.store, quarantined, samples)


def _keep_pictures(config: ImportConfig, images: str, writer: StoreWriter) -> None:
    """Keep a hash of the pictures that the features are said to be of, and refuse others."""
    found = pictures_of(images, config.picked.of(images), visible=not config.quiet)
    with writer.run_record() as record:
        kept = record.setdefault(PICTURES, found)
    if kept != found:
        raise FingerprintMismatchError(
            "hash of the pictures",
            kept,
            found,
            where=images,
            remedy=f"give the --images that {config.store} was begun with, or another --store",
        )


def _shard_bytes(fingerprint: Fingerprint) -> int:
    """Return the memory of a shard as read, and scaled, in float64, and of writing it."""
    numbers = shard_rows(fingerprint) * fingerprint.proj_dim
    return bytes_while_written(fingerprint) + numbers * (8 + 8)


def _open(config: ImportConfig) -> ScaledRows:
    array = open_feature_array(config.array)
    factor = declared_factor(config.features, array.used_dim)
    ids = choose_sample_ids(
        len(array),
        ids=config.ids,
        images=config.images,
        options=config.picked.of(config.images),
        visible=not config.quiet,
    )
    # a wrong declaration is refused before the long pass over all rows
    declared_fingerprint(config.features, array, images="", dtype=config.dtype, rows_per_shard=1)
    return ScaledRows(array, factor, ids)


def _write(rows: ScaledRows, writer: StoreWriter, missing: list[int]) -> list[int]:
    """Write the missing shards that no other process writes; return which."""
    stores, written = writer.stores, list[int]()

    def waiting(shards: list[int]) -> None:
        bar.n = stores.num_shards - len(shards)
        bar.set_postfix_str(f"waiting for {len(shards)} shards of other processes")

    with progress(
        stores.num_shards,
        description="importing",
        unit="shard",
        done=stores.num_shards - len(missing),
        visible=writer.visible,
    ) as bar:
        try:
            free = missing
            while free:
                for shard in writer.claim_free(free):
                    writer.write(_rows_of(rows, stores, shard))
                    written.append(shard)
                    bar.update()
                free = writer.wait_for_others(missing, waiting)
        except KeyboardInterrupt as interrupt:
            finished = stores.num_shards - len(stores.missing_shards())
            raise InterruptedRunError(
                f"{finished} of {stores.num_shards} shards of {stores.root} are done and kept"
            ) from interrupt
    return written


def _rows_of(rows: ScaledRows, stores: StoreSet, shard: int) -> ComputedRows:
    held = stores.shard_rows(shard)
    features = rows.block(held.start, held.stop)
    return ComputedRows(shard, features, rows.ids(held.start, held.stop))


def _say_outcome(layout: StoreLayout, written: int, quarantined: int) -> None:
    done = f"{written} shards written" if written else "already complete"
    say(f"{layout.root}: {done}, {layout.fingerprint.samples:,} rows in {layout.num_shards} shards")
    if quarantined:
        say(f"{quarantined:,} samples quarantined, see {layout.quarantine_path}")
