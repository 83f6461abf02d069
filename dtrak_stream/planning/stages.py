"""What a stage of a run would take; the features of one side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dtrak_stream.gram.options import GramOptions
from dtrak_stream.gram.plan import GramPlan, tile_bytes
from dtrak_stream.planning.calibration import ArithmeticSpeed, FeaturizingSpeed
from dtrak_stream.planning.sharing import Sharing
from dtrak_stream.scoring.halves import HALVES, HalfSketch
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.room import bytes_on_disk, shard_memory
from dtrak_stream.support.cluster_options import HERE
from dtrak_stream.support.memory import format_size, parse_size


@dataclass(frozen=True)
class StagePlan:
    """What one stage takes.

    Attributes
    ----------
    name
        The stage.
    disk
        Bytes that stay on disk.
    scratch
        Bytes on disk besides, until the stage is over.
    memory
        Bytes of memory besides those of the process itself, its interpreter and packages.
    seconds
        About how long it takes; None if nothing was measured.
    note
        How it would be done.
    cpu_seconds
        Time of the processor, where that was measured.
    processes
        How many share it: `memory` is that of each, `cpu_seconds` of all.
    """

    name: str
    disk: int
    scratch: int
    memory: int
    seconds: float | None
    note: str
    cpu_seconds: float | None = None
    processes: int = 1

    @property
    def memory_in_all(self) -> int:
        """Return the bytes of memory that all processes take, besides what they are themselves."""
        return self.processes * self.memory

    def __str__(self) -> str:
        scratch = f" (and {format_size(self.scratch)} while it runs)" if self.scratch else ""
        time = "" if self.seconds is None else f", about {duration(self.seconds)}"
        room = f"{format_size(self.memory)} of memory"
        if self.processes > 1:
            room += (
                f" for each of {self.processes} processes, {format_size(self.memory_in_all)} in all"
            )
        return f"{self.name}: {format_size(self.disk)} on disk{scratch}, {room}{time}; {self.note}"


def duration(seconds: float) -> str:
    """Return a time for a reader: `12 s`, `3.4 min`, `5.6 h`, `7.8 days`."""
    if seconds < 1:
        return "1 s"
    for unit, length, limit in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < limit:
            return f"{seconds / length:.0f} s" if unit == "s" else f"{seconds / length:.1f} {unit}"
    return f"{seconds / 86_400:.1f} days"


def plan_features(
    name: str,
    stores: Sequence[FeatureStore],
    model_memory: int,
    speed: FeaturizingSpeed | None,
    sharing: Sharing,
) -> StagePlan:
    """Plan the features of one side, in one store or in one for each probe.

    Parameters
    ----------
    name, stores
        The stage, and what it fills.
    model_memory
        Bytes of memory that the model takes, its weights and what is computed with them.
    speed
        How fast it was; None if that was not measured.
    sharing
        Who shares the work.
    """
    fingerprint, shards = stores[0].fingerprint, stores[0].layout.num_shards
    count = len(stores)
    memory = model_memory + shard_memory(fingerprint, count)
    note = f"{count:,} stores of " if count > 1 else ""
    note += (
        f"{fingerprint.samples:,} x {fingerprint.proj_dim:,} {fingerprint.dtype}, {shards:,} shards"
    )
    if speed:
        note += f", {speed.how}, {speed.images_per_second:.3g} images/s"
    disk, seconds, cpu_seconds = count * bytes_on_disk(fingerprint, shards), None, None
    if speed:
        seconds = fingerprint.samples / (speed.images_per_second * sharing.times_as_fast)
        cpu_seconds = fingerprint.samples / speed.images_per_cpu_second
    return StagePlan(name, disk, 0, memory, seconds, note, cpu_seconds, sharing.processes)


def plan_kept(size: int, images: int) -> StagePlan:
    """Plan what `--cache-latents` adds to a folder: so many bytes of so many images."""
    note = f"latents of {images:,} images, and their captions if all are different"
    return StagePlan("kept latents", size, 0, 0, None, note)


def counted(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun: `1 pass`, `2 passes`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def plan_gram_stage(
    name: str,
    stores: Sequence[FeatureStore],
    options: GramOptions,
    sharing: Sharing,
    speed: ArithmeticSpeed | None,
) -> tuple[StagePlan, list[GramPlan]]:
    """Plan the Gram matrix of each store; the stores differ in what their features are of only.

    Returns
    -------
    tuple
        The stage, and how each matrix would be cut.

    Raises
    ------
    MemoryLimitError
        As `plan_gram`.
    """
    limit = parse_size(options.memory_limit, flag="--memory-limit")
    plan = sharing.plan_gram(stores[0], options.gram_form, memory_limit=limit)
    return _stage(name, stores, plan, sharing, speed), [plan] * len(stores)


def plan_half_grams(
    stores: Sequence[FeatureStore], options: GramOptions, speed: ArithmeticSpeed | None
) -> StagePlan:
    """Plan the two Gram matrices beside each, of which error bars are computed.

    Raises
    ------
    ConfigurationError
        If features are no random projection.
    MemoryLimitError
        As `plan_gram`.
    """
    limit = parse_size(options.memory_limit, flag="--memory-limit")
    halves = [HalfSketch(store, half) for store in stores for half in HALVES]
    alone = Sharing(HERE)
    plan = alone.plan_gram(halves[0], "auto", memory_limit=limit)
    return _stage("Gram matrices of halves", halves, plan, alone, speed)


def _stage(
    name: str,
    stores: Sequence[FeatureStore],
    plan: GramPlan,
    sharing: Sharing,
    speed: ArithmeticSpeed | None,
) -> StagePlan:
    store, count = stores[0], len(stores)
    inner = len(store) if plan.form == "primal" else store.proj_dim
    tiles = list(plan.tiles())
    flops = sum(2.0 * len(tile.rows) * len(tile.columns) * inner for tile in tiles)
    seconds = count * flops / (speed.single * sharing.times_as_fast) if speed else None
    note = f"{count:,} matrices, each " if count > 1 else ""
    note += f"{plan.form}, {plan.size:,} x {plan.size:,}, {counted(len(tiles), 'tile')}"
    size = 8 * plan.size**2
    memory = tile_bytes(
        store, plan.form, plan.tile_size, plan.workers, plan.rows_at_a_time, plan.ahead
    )
    return StagePlan(name, count * size, size, memory, seconds, note, processes=sharing.processes)
