"""Computing shards of a store that is begun: chosen execution, shards, and what is told of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dtrak_stream.data.samples import Samples
from dtrak_stream.features.maker import FeatureMaker
from dtrak_stream.featurizing.calibration import choose_execution
from dtrak_stream.featurizing.execution import Execution
from dtrak_stream.featurizing.options import ExecutionOptions, FeaturizeConfig
from dtrak_stream.featurizing.preparation import Prepared
from dtrak_stream.featurizing.shard_run import ShardRun
from dtrak_stream.featurizing.zero_rows import record_zero_rows
from dtrak_stream.store.layout import CLASS_NAMES, IMAGES_ALONE
from dtrak_stream.store.writer import StoreWriter
from dtrak_stream.support.device import peak_memory_on
from dtrak_stream.support.progress import say
from dtrak_stream.support.timing import bottleneck, describe

_SECONDS = "stage_seconds"


@dataclass
class Computing:
    """What computes the shards of some stores, set to how it executes.

    Attributes
    ----------
    maker, samples
        What computes, and on what.
    execution
        How.
    seconds
        Where the time went so far, by the names of stages.
    """

    maker: FeatureMaker
    samples: Samples
    execution: Execution
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, prepared: Prepared) -> Computing:
        """Choose how the stores of a job are computed, and note that in store.json.

        Whoever comes second executes as the first one does.
        """
        assert prepared.opened is not None
        maker, samples = prepared.opened
        with prepared.writer.run_record() as record:
            execution = _execution(maker, samples, prepared.config, record)
            record["execution"] = execution.record()
            note_samples(record, prepared)
        execution.apply(maker)
        return cls(maker, samples, execution)

    def compute(self, writer: StoreWriter, shards: Sequence[int], *, waits: bool) -> int:
        """Compute shards and note in store.json where the time went; raises as `ShardRun.run`.

        Parameters
        ----------
        writer
            What writes them.
        shards
            Those that are missing.
        waits
            Whether to wait for those that others compute.

        Returns
        -------
        int
            The number of images this call computed.
        """
        before = self.maker.timer.seconds()
        run = ShardRun(self.maker, self.samples, writer, self.execution, waits=waits)
        try:
            return run.run(list(shards))
        finally:
            record_zero_rows(writer, run.zero_rows)
            after = self.maker.timer.seconds()
            spent = {name: after[name] - before.get(name, 0.0) for name in after}
            self.seconds = added(self.seconds, spent)
            with writer.run_record() as record:
                record[_SECONDS] = added(record.get(_SECONDS, {}), spent)

    def remarks(self) -> list[str]:
        """Return what images and model have to say of the samples met so far."""
        return [*self.samples.remarks(), *self.maker.remarks()]


def note_samples(record: dict[str, Any], prepared: Prepared) -> None:
    """Note what the fingerprint does not tell apart: images, and what is made or said of them."""
    assert prepared.opened is not None
    maker, samples = prepared.opened
    more_than_images = samples.path is not None or maker.conditioned_on != "nothing"
    if more_than_images and IMAGES_ALONE not in record:
        record[IMAGES_ALONE] = samples.images_identity()
    if prepared.class_names is not None:
        record[CLASS_NAMES] = list(prepared.class_names)


def added(seconds: dict[str, float], more: dict[str, float]) -> dict[str, float]:
    """Return the sum of two tables of times."""
    return {**seconds, **{name: seconds.get(name, 0.0) + each for name, each in more.items()}}


def say_times(seconds: dict[str, float]) -> None:
    """Tell where the time went, if any did: others may have computed all of it."""
    if any(seconds.values()):
        say(f"time: {describe(seconds)}; the bottleneck is {bottleneck(seconds)}")


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
