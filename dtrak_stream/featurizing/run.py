"""Plan, run and resume: images into a store of features, shard by shard."""

from __future__ import annotations

from typing import Any

from dtrak_stream.data import Images, ImageShape, open_images
from dtrak_stream.data.samples import Samples
from dtrak_stream.features.kinds import open_features
from dtrak_stream.features.maker import FeatureMaker
from dtrak_stream.featurizing.calibration import choose_execution
from dtrak_stream.featurizing.execution import Execution, ExecutionOptions
from dtrak_stream.featurizing.options import FeaturizeConfig, FeaturizeResult
from dtrak_stream.featurizing.shard_run import ShardRun
from dtrak_stream.store import write_joined_view
from dtrak_stream.store.room import refuse_what_cannot_fit, shard_memory
from dtrak_stream.store.store_set import StoreSet
from dtrak_stream.store.unfinished import drop_what_is_finished
from dtrak_stream.store.upkeep import (
    begin_store,
    continue_store,
    forget_quarantine_of,
    refuse_foreign_folder,
    settle_quarantine,
)
from dtrak_stream.support.progress import say
from dtrak_stream.support.provenance import record_run
from dtrak_stream.support.timing import bottleneck, describe


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
    maker, samples = _open(config)
    features = config.features
    fingerprints = maker.fingerprints(samples, features.dtype, features.rows_per_shard)
    stores = StoreSet.of(config.store, fingerprints)
    _take_up(stores, config)
    missing = stores.missing_shards()
    if missing:
        needed = shard_memory(stores.layouts[0].fingerprint, len(stores.layouts))
        refuse_what_cannot_fit(stores.layouts, config.store, shard_bytes=needed)
    _begin(stores, config)
    for layout in stores.layouts:
        forget_quarantine_of(layout, layout.missing_shards())
    computed = _compute(maker, samples, stores, config, missing) if missing else 0
    quarantined = _settle(stores, complete_before=not missing)
    _say_outcome(stores, computed, quarantined)
    return FeaturizeResult(config.store, quarantined, computed)


def _open(config: FeaturizeConfig) -> tuple[FeatureMaker, Samples]:
    visible = not config.quiet

    def open_at(shape: ImageShape | None) -> Images:
        options = config.image_options
        return open_images(config.images, shape, options, limit=config.limit, visible=visible)

    trajectory = config.trajectory
    return open_features(config.model, config.features, trajectory, open_at, visible=visible)


def _take_up(stores: StoreSet, config: FeaturizeConfig) -> None:
    """Refuse what was begun otherwise, is damaged, or is no store."""
    for layout in stores.layouts:
        if layout.plan_path.exists():
            continue_store(layout, redo_corrupt=config.redo_corrupt, visible=not config.quiet)
        else:
            refuse_foreign_folder(layout)
    stores.refuse_foreign_root()


def _begin(stores: StoreSet, config: FeaturizeConfig) -> None:
    for layout in stores.layouts:
        begin_store(layout)
        record = layout.root / "config.yaml"
        if not record.exists():
            record_run(record, config)


def _compute(
    maker: FeatureMaker,
    samples: Samples,
    stores: StoreSet,
    config: FeaturizeConfig,
    missing: list[int],
) -> int:
    """Compute the missing shards and note in store.json how, and where the time went."""
    run_record = stores.run_record()
    execution = _execution(maker, samples, config, run_record)
    execution.apply(maker)
    stores.write_run_record({**run_record, "execution": execution.record()})
    try:
        return ShardRun(maker, samples, stores, execution, not config.quiet).run(missing)
    finally:
        maker.close()
        for layout in stores.layouts:
            drop_what_is_finished(layout)
        _record_times(stores, maker.timer.seconds())


def _execution(
    maker: FeatureMaker, samples: Samples, config: FeaturizeConfig, run_record: dict[str, Any]
) -> Execution:
    """Return what the store was begun with, if it suits this machine and nothing else is asked."""
    options = config.execution
    if "execution" in run_record and options == ExecutionOptions():
        begun_with = Execution.recorded(run_record["execution"])
        if begun_with.suits(maker):
            return begun_with
    execution = choose_execution(maker, samples, options)
    say(f"engine {execution.engine}, batches of {execution.batch_size}: {execution.reason}")
    return execution


def _record_times(stores: StoreSet, seconds: dict[str, float]) -> None:
    record = stores.run_record()
    before: dict[str, float] = record.get("stage_seconds", {})
    total = {name: before.get(name, 0.0) + value for name, value in seconds.items()}
    stores.write_run_record({**record, "stage_seconds": {**before, **total}})
    if seconds:
        say(f"time: {describe(seconds)}; the bottleneck is {bottleneck(seconds)}")


def _settle(stores: StoreSet, *, complete_before: bool) -> int:
    """Leave finished stores behind; return the number of samples that some store lacks."""
    bad: set[int] = set()
    for layout in stores.layouts:
        bad.update(settle_quarantine(layout))
        if not (complete_before and (layout.root / "features.h5").exists()):
            write_joined_view(layout)
    return len(bad)


def _say_outcome(stores: StoreSet, computed: int, quarantined: int) -> None:
    done = f"{computed:,} images featurized" if computed else "already complete"
    layout = stores.layouts[0]
    say(f"{stores.root}: {done}, {layout.fingerprint.samples:,} rows in {layout.num_shards} shards")
    if quarantined:
        say(f"{quarantined:,} samples quarantined, see {layout.quarantine_path}")
