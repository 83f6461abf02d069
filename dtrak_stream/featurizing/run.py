"""Plan, run and resume: images into a store of features, shard by shard."""

from __future__ import annotations

from dtrak_stream.data.options import ImageShape
from dtrak_stream.featurizing.computing import Computing, say_times
from dtrak_stream.featurizing.opening import Identities
from dtrak_stream.featurizing.options import FeaturizeConfig, FeaturizeResult
from dtrak_stream.featurizing.preparation import Prepared, prepare
from dtrak_stream.featurizing.zero_rows import say_zero_rows
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.store.store_set import StoreSet
from dtrak_stream.support.progress import say
from dtrak_stream.support.provenance import record_run


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
    ConfigurationError
        If a model is given that workers would have to share.
    ClusterError
        If the scheduler of the workers is lost, or a share of the work ends each of them.
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
            computed = _compute(prepared)
        prepared.close()
        quarantined = writer.settle()
    prepared.note()
    _say_outcome(prepared.stores, computed, quarantined)
    return FeaturizeResult(config.store, quarantined, computed)


def _begin(prepared: Prepared) -> None:
    prepared.writer.begin()
    for layout in prepared.stores.layouts:
        record = layout.root / "config.yaml"
        is_longer = bool(layout.history.changes and prepared.missing)  # than when it was recorded
        if is_longer or not record.exists():
            record_run(record, prepared.config)
    prepared.list_equal()
    prepared.note()


def _compute(prepared: Prepared) -> int:
    """Compute the missing shards, here or on workers, and tell where the time went."""
    try:
        if prepared.config.cluster.is_this_process:
            return _compute_here(prepared)
        from dtrak_stream.featurizing.shares import compute_in_shares  # loads Dask

        return compute_in_shares(prepared)
    finally:
        prepared.close()


def _compute_here(prepared: Prepared) -> int:
    computing = Computing.of(prepared)
    try:
        return computing.compute(prepared.writer, prepared.missing, waits=True)
    finally:
        say_times(computing.seconds)
        for remark in computing.remarks():
            say(remark)


def _say_outcome(stores: StoreSet, computed: int, quarantined: int) -> None:
    done = f"{computed:,} images featurized" if computed else "already complete"
    layout = stores.layouts[0]
    say(f"{stores.root}: {done}, {layout.fingerprint.samples:,} rows in {layout.num_shards} shards")
    say_zero_rows(stores)
    if quarantined:
        say(f"{quarantined:,} samples quarantined, see {layout.quarantine_path}")
