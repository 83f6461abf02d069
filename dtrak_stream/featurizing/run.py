"""Plan, run and resume: images into a store of features, shard by shard."""

from __future__ import annotations

from typing import Any

from dtrak_stream.data import ImageShape
from dtrak_stream.data.samples import Samples
from dtrak_stream.features.maker import FeatureMaker
from dtrak_stream.featurizing.calibration import choose_execution
from dtrak_stream.featurizing.execution import Execution, ExecutionOptions
from dtrak_stream.featurizing.options import FeaturizeConfig, FeaturizeResult
from dtrak_stream.featurizing.preparation import Identities, Prepared, prepare
from dtrak_stream.featurizing.shard_run import ShardRun
from dtrak_stream.store import write_joined_view
from dtrak_stream.store.store_set import StoreSet
from dtrak_stream.store.unfinished import drop_what_is_finished
from dtrak_stream.store.upkeep import (
    begin_store,
    forget_quarantine_of,
    settle_quarantine,
)
from dtrak_stream.support.progress import say
from dtrak_stream.support.provenance import record_run
from dtrak_stream.support.timing import bottleneck, describe


def featurize(
    config: FeaturizeConfig,
    *,
    like: ImageShape | None = None,
    identities: Identities | None = None,
) -> FeaturizeResult:
    """Bring the store to completion, from wherever it is.

    Parameters
    ----------
    config
        The job.
    like, identities
        What other jobs of this process know; see `prepare`.

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
    prepared = prepare(config, like=like, identities=identities)
    stores = prepared.stores
    if prepared.opened is not None:
        _begin(prepared)
    computed = _compute(*prepared.opened, prepared) if prepared.opened and prepared.missing else 0
    prepared.close()
    quarantined = _settle(stores, complete_before=not prepared.missing)
    prepared.note()
    _say_outcome(stores, computed, quarantined)
    return FeaturizeResult(config.store, quarantined, computed)


def _begin(prepared: Prepared) -> None:
    for layout in prepared.stores.layouts:
        begin_store(layout)
        record = layout.root / "config.yaml"
        if not record.exists():
            record_run(record, prepared.config)
        forget_quarantine_of(layout, layout.missing_shards())
    prepared.note()


def _compute(maker: FeatureMaker, samples: Samples, prepared: Prepared) -> int:
    """Compute the missing shards and note in store.json how, and where the time went."""
    config, stores = prepared.config, prepared.stores
    run_record = stores.run_record()
    execution = _execution(maker, samples, config, run_record)
    execution.apply(maker)
    stores.write_run_record({**run_record, "execution": execution.record()})
    try:
        return ShardRun(maker, samples, stores, execution, not config.quiet).run(prepared.missing)
    finally:
        prepared.close()
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
