"""Plan, run and resume: images into a store of features, shard by shard."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from dtrak_stream.data import ImageOptions, Images, open_images
from dtrak_stream.diffusion import EMBEDDED_MODEL
from dtrak_stream.durable import PARTIAL_SUFFIX, remove_partials, write_json
from dtrak_stream.errors import (
    CorruptFileError,
    DiskFullError,
    InputError,
    MemoryLimitError,
)
from dtrak_stream.execution import Execution, ExecutionOptions, choose_execution
from dtrak_stream.features import FeatureOptions, make_featurizer
from dtrak_stream.featurizer import Featurizer
from dtrak_stream.memory import format_size, usable_memory
from dtrak_stream.progress import progress, say
from dtrak_stream.provenance import record_run
from dtrak_stream.shard_run import ShardRun
from dtrak_stream.store import (
    StoreLayout,
    keep_quarantine,
    read_layout,
    read_quarantine,
    read_shard,
    write_joined_view,
)
from dtrak_stream.store.shard import PAGE
from dtrak_stream.timing import bottleneck, describe
from dtrak_stream.unfinished import drop_what_is_finished


@dataclass(frozen=True)
class FeaturizeConfig:
    """Compute the features of images under a diffusion model and store them, resumably.

    Stop it at any moment, even with kill -9, and run the same command again: it goes on with the
    first missing shard, and the result is the same to the byte.
    """

    images: str
    """Images: a folder, FILE.npz:KEY, FILE.npy, FILE.h5:KEY, a datasets folder, parquet, tar, \
hf:OWNER/NAME or sklearn:digits; [a:b] at the end takes a range."""
    store: Path
    """Folder of the feature store to write, or to continue."""
    model: str = EMBEDDED_MODEL
    """Diffusers pipeline folder with safetensors (or the small model that comes along)."""
    limit: int | None = None
    """Use only the first so many images."""
    redo_corrupt: bool = False
    """Compute shards again that are truncated or fail their checksum, instead of refusing."""
    features: tyro.conf.OmitArgPrefixes[FeatureOptions] = field(default_factory=FeatureOptions)
    execution: tyro.conf.OmitArgPrefixes[ExecutionOptions] = field(default_factory=ExecutionOptions)
    image_options: tyro.conf.OmitArgPrefixes[ImageOptions] = field(default_factory=ImageOptions)
    quiet: bool = False
    """Draw no progress bars."""


@dataclass(frozen=True)
class FeaturizeResult:
    """What featurizing did.

    Attributes
    ----------
    path
        Folder of the store.
    quarantined
        Number of samples without a feature.
    computed
        Number of images featurized by this call; 0 if the store was already complete.
    """

    path: Path
    quarantined: int
    computed: int


def featurize(config: FeaturizeConfig) -> FeaturizeResult:
    """Bring the store to completion, from wherever it is.

    Raises
    ------
    FingerprintMismatchError
        If the store was begun with another model, data set or option.
    CorruptFileError
        If a shard is damaged and `redo_corrupt` is not set.
    DiskFullError, MemoryLimitError
        If the store or a shard cannot fit; before any work where that can be foreseen.
    InterruptedRunError
        On Ctrl-C. What is finished is kept.
    """
    featurizer = make_featurizer(config.model, config.features)
    images = open_images(
        config.images,
        featurizer.image_shape,
        config.image_options,
        limit=config.limit,
        visible=not config.quiet,
    )
    fingerprint = featurizer.fingerprint(
        images, config.features.dtype, config.features.rows_per_shard
    )
    layout = StoreLayout(config.store, fingerprint)
    if layout.plan_path.exists():
        _continue(layout, config)
    else:
        _refuse_foreign_folder(layout)
    missing = layout.missing_shards()
    if missing:
        _refuse_what_cannot_fit(layout, len(missing))
    _begin(layout, config)
    _forget_quarantine_of(layout, missing)
    computed = _compute(featurizer, images, layout, config, missing) if missing else 0
    quarantined = _settle_quarantine(layout)
    if missing or not (layout.root / "features.h5").exists():
        write_joined_view(layout)
    _say_outcome(layout, computed, quarantined)
    return FeaturizeResult(config.store, quarantined, computed)


def _compute(
    featurizer: Featurizer,
    images: Images,
    layout: StoreLayout,
    config: FeaturizeConfig,
    missing: list[int],
) -> int:
    """Compute the missing shards and note in store.json how, and where the time went."""
    run_record = layout.run_record()
    execution = _execution(featurizer, images, config, run_record)
    execution.apply(featurizer)
    layout.write_run_record({**run_record, "execution": execution.record()})
    try:
        return ShardRun(featurizer, images, layout, execution, not config.quiet).run(missing)
    finally:
        featurizer.engine.close()
        drop_what_is_finished(layout)
        _record_times(layout, featurizer.task.timer.seconds())


def _execution(
    featurizer: Featurizer, images: Images, config: FeaturizeConfig, run_record: dict[str, Any]
) -> Execution:
    """Return what the store was begun with, unless the user asks for something else."""
    options = config.execution
    if "execution" in run_record and options == ExecutionOptions():
        return Execution.recorded(run_record["execution"])
    execution = choose_execution(featurizer, images, options)
    say(f"engine {execution.engine}, batches of {execution.batch_size}: {execution.reason}")
    return execution


def _record_times(layout: StoreLayout, seconds: dict[str, float]) -> None:
    record = layout.run_record()
    before: dict[str, float] = record.get("stage_seconds", {})
    total = {name: before.get(name, 0.0) + value for name, value in seconds.items()}
    layout.write_run_record({**record, "stage_seconds": {**before, **total}})
    if seconds:
        say(f"time: {describe(seconds)}; the bottleneck is {bottleneck(seconds)}")


def _continue(layout: StoreLayout, config: FeaturizeConfig) -> None:
    """Take up a store where it is, if it is the one asked for and nothing in it is damaged."""
    stored = read_layout(layout.root)
    stored.fingerprint.refuse_other_run(layout.fingerprint, where=layout.root)
    remove_partials(layout.root)
    remove_partials(layout.shards_folder)
    drop_what_is_finished(layout)
    _check_finished_shards(layout, config)


def _refuse_foreign_folder(layout: StoreLayout) -> None:
    """Refuse what is there already and is none of ours, save what a killed beginning left."""
    root = layout.root
    leftover = layout.plan_path.with_name(layout.plan_path.name + PARTIAL_SUFFIX)
    if root.exists() and not (root.is_dir() and set(root.iterdir()) <= {leftover}):
        raise InputError(
            "not empty and not a feature store" if root.is_dir() else "not a folder",
            where=root,
            remedy="give a new or empty folder as --store",
        )


def _begin(layout: StoreLayout, config: FeaturizeConfig) -> None:
    """Write what is not there yet. The plan comes first: it makes the folder a store."""
    if not layout.plan_path.exists():
        write_json(layout.plan_path, layout.plan())
    layout.shards_folder.mkdir(exist_ok=True)
    if not (layout.root / "config.yaml").exists():
        record_run(layout.root / "config.yaml", config)


def _check_finished_shards(layout: StoreLayout, config: FeaturizeConfig) -> None:
    missing = set(layout.missing_shards())
    finished = [shard for shard in range(layout.num_shards) if shard not in missing]
    with progress(
        len(finished), description="checking shards", unit="shard", visible=not config.quiet
    ) as bar:
        for shard in finished:
            try:
                read_shard(layout.shard_path(shard), layout.fingerprint.hash())
            except CorruptFileError as error:
                if not config.redo_corrupt:
                    raise
                say(f"{error.where}: {error.what}; computing it again")
                layout.shard_path(shard).unlink()
            bar.update()


def _refuse_what_cannot_fit(layout: StoreLayout, missing: int) -> None:
    fingerprint = layout.fingerprint
    rows = min(fingerprint.rows_per_shard, fingerprint.samples)
    stored = rows * fingerprint.proj_dim * np.dtype(fingerprint.dtype).itemsize
    on_disk = missing * (stored + 4 * PAGE)
    root = layout.root.absolute()
    there = next(folder for folder in (root, *root.parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    if on_disk > free:
        raise DiskFullError(
            f"{format_size(on_disk)} are needed and {format_size(free)} are free",
            where=layout.root,
            remedy="free some space, or lower --proj-dim or --limit",
        )
    # one shard being computed; of the one being written, its features, their clean copy and its
    # float64 for the norm, the rows, the file image
    in_memory = rows * fingerprint.proj_dim * (4 + 4 + 4 + 8) + 3 * stored
    if in_memory > usable_memory():
        raise MemoryLimitError(
            f"a shard of {rows:,} rows needs {format_size(in_memory)} of memory, "
            f"{format_size(usable_memory())} are there",
            where=f"--rows-per-shard {fingerprint.rows_per_shard}",
            remedy="lower --rows-per-shard or --proj-dim",
        )


def _forget_quarantine_of(layout: StoreLayout, missing: list[int]) -> None:
    """Drop ledger entries of shards that are to be computed, which will write them again."""
    entries = read_quarantine(layout.quarantine_path)
    redone = set(missing)
    rows_per_shard = layout.fingerprint.rows_per_shard
    kept = [entry for entry in entries if entry.row // rows_per_shard not in redone]
    keep_quarantine(layout.quarantine_path, kept)


def _settle_quarantine(layout: StoreLayout) -> int:
    """Order the ledger by row, whatever order shards were computed in; return its length."""
    entries = sorted(read_quarantine(layout.quarantine_path), key=lambda entry: entry.row)
    keep_quarantine(layout.quarantine_path, entries)
    return len(entries)


def _say_outcome(layout: StoreLayout, computed: int, quarantined: int) -> None:
    done = f"{computed:,} images featurized" if computed else "already complete"
    say(f"{layout.root}: {done}, {layout.fingerprint.samples:,} rows in {layout.num_shards} shards")
    if quarantined:
        say(f"{quarantined:,} samples quarantined, see {layout.quarantine_path}")
