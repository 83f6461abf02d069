"""Plan, run and resume: images into a store of features, shard by shard."""

from __future__ import annotations

import time
from typing import Any

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import Samples
from dtrak_stream.features.maker import FeatureMaker
from dtrak_stream.featurizing.calibration import choose_execution
from dtrak_stream.featurizing.execution import Execution
from dtrak_stream.featurizing.options import ExecutionOptions, FeaturizeConfig, FeaturizeResult
from dtrak_stream.featurizing.preparation import Identities, Prepared, prepare
from dtrak_stream.featurizing.shard_run import ShardRun
from dtrak_stream.featurizing.zero_rows import record_zero_rows, say_zero_rows
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.store.layout import CLASS_NAMES, IMAGES_ALONE
from dtrak_stream.store.store_set import StoreSet
from dtrak_stream.store.writer import StoreWriter
from dtrak_stream.support.device import peak_memory_on
from dtrak_stream.support.progress import say
from dtrak_stream.support.provenance import record_run
from dtrak_stream.support.timing import bottleneck, describe


def featurize(
    config: FeaturizeConfig,
    *,
    denoiser: Denoiser | None = None,
    like: ImageShape | None = None,
    identities: Identities | None = None,
) -> FeaturizeResult:
    """Bring the store to completion, from wherever it is.

    Several calls at once, from as many processes or machines, share the shards between them.

    Parameters
    ----------
    config
        The job.
    denoiser
        The model, instead of one that `config` names. Several processes that give the same one
        share the work as well.
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
    return finish(prepare(config, like=like, identities=identities, denoiser=denoiser))


def finish(prepared: Prepared) -> FeaturizeResult:
    """Bring the stores of a prepared job to completion; raises as `featurize` does."""
    config = prepared.config
    with prepared.writer as writer:
        if prepared.opened is not None:
            _begin(prepared)
        computed = 0
        if prepared.opened is not None and prepared.missing:
            computed = _compute(*prepared.opened, prepared)
        prepared.close()
        quarantined = writer.settle()
    prepared.note()
    _say_outcome(prepared.stores, computed, quarantined)
    return FeaturizeResult(config.store, quarantined, computed)


def _begin(prepared: Prepared) -> None:
    prepared.writer.begin()
    for layout in prepared.stores.layouts:
        record = layout.root / "config.yaml"
        if not record.exists():
            record_run(record, prepared.config)
    prepared.list_equal()
    prepared.note()


def _compute(maker: FeatureMaker, samples: Samples, prepared: Prepared) -> int:
    """Compute the missing shards and note in store.json how, and where the time went."""
    writer = prepared.writer
    with writer.run_record() as record:  # whoever comes second executes as the first one does
        execution = _execution(maker, samples, prepared.config, record)
        record["execution"] = execution.record()
        _record_samples(record, maker, samples, prepared)
    execution.apply(maker)
    before = maker.timer.seconds()
    run = ShardRun(maker, samples, writer, execution)
    try:
        return run.run(prepared.missing)
    finally:
        prepared.close()
        record_zero_rows(writer, run.zero_rows)
        after = maker.timer.seconds()
        _record_times(writer, {name: after[name] - before.get(name, 0.0) for name in after})
        for remark in (*samples.remarks(), *maker.remarks()):
            say(remark)


def _record_samples(
    record: dict[str, Any], maker: FeatureMaker, samples: Samples, prepared: Prepared
) -> None:
    """Note what the fingerprint does not tell apart: images, and what is made or said of them."""
    more_than_images = samples.path is not None or maker.conditioned_on != "nothing"
    if more_than_images and IMAGES_ALONE not in record:
        record[IMAGES_ALONE] = samples.images_identity()
    if prepared.class_names is not None:
        record[CLASS_NAMES] = list(prepared.class_names)


def _execution(
    maker: FeatureMaker, samples: Samples, config: FeaturizeConfig, run_record: dict[str, Any]
) -> Execution:
    """Return what the store was begun with, if it suits this machine and nothing else is asked."""
    options = config.execution
    if "execution" in run_record and options == ExecutionOptions():
        begun_with = Execution.recorded(run_record["execution"])
        if begun_with.suits(maker):
            return begun_with
    seconds, cpu_seconds = time.perf_counter(), time.process_time()
    execution = choose_execution(maker, samples, options)
    run_record["calibration"] = {
        "seconds": time.perf_counter() - seconds,
        "cpu_seconds": time.process_time() - cpu_seconds,
        "peak_bytes": peak_memory_on(maker.device),
    }
    say(f"engine {execution.engine}, batches of {execution.batch_size}: {execution.reason}")
    return execution


def _record_times(writer: StoreWriter, seconds: dict[str, float]) -> None:
    with writer.run_record() as record:
        before: dict[str, float] = record.get("stage_seconds", {})
        total = {name: before.get(name, 0.0) + value for name, value in seconds.items()}
        record["stage_seconds"] = {**before, **total}
    if any(seconds.values()):  # others may have computed all of it
        say(f"time: {describe(seconds)}; the bottleneck is {bottleneck(seconds)}")


def _say_outcome(stores: StoreSet, computed: int, quarantined: int) -> None:
    done = f"{computed:,} images featurized" if computed else "already complete"
    layout = stores.layouts[0]
    say(f"{stores.root}: {done}, {layout.fingerprint.samples:,} rows in {layout.num_shards} shards")
    say_zero_rows(stores)
    if quarantined:
        say(f"{quarantined:,} samples quarantined, see {layout.quarantine_path}")
