"""What each stage of a run would take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from dtrak_stream.cluster import connect
from dtrak_stream.errors import MemoryLimitError
from dtrak_stream.gram.plan import GramPlan, plan_gram, tile_bytes
from dtrak_stream.kernel import parse_dampings
from dtrak_stream.memory import format_size, parse_size
from dtrak_stream.methods import find_method
from dtrak_stream.planning.calibration import ArithmeticSpeed, FeaturizingSpeed
from dtrak_stream.planning.options import PlanConfig
from dtrak_stream.score.plan import ScorePlan, ScoreWork, plan_scores
from dtrak_stream.store import FeatureStore
from dtrak_stream.store.size import bytes_on_disk, bytes_while_written

_READ_RATE = 10**9  # bytes a second from the page cache or a fast disk
_FACTOR_FLOPS = (
    1 / 3 + 1 / 3
)  # d^3: the Cholesky factor, and its inverse for the degrees of freedom
_EIGENVALUE_FLOPS = 8 / 3  # d^3: 4/3, at half the speed of products


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
        Bytes of memory for arrays.
    seconds
        About how long it takes; None if nothing was measured.
    note
        How it would be done.
    """

    name: str
    disk: int
    scratch: int
    memory: int
    seconds: float | None
    note: str

    def __str__(self) -> str:
        scratch = f" (and {format_size(self.scratch)} while it runs)" if self.scratch else ""
        time = "" if self.seconds is None else f", about {duration(self.seconds)}"
        return (
            f"{self.name}: {format_size(self.disk)} on disk{scratch}, "
            f"{format_size(self.memory)} of memory{time}; {self.note}"
        )


def duration(seconds: float) -> str:
    """Return a time for a reader: `12 s`, `3.4 min`, `5.6 h`, `7.8 days`."""
    if seconds < 1:
        return "1 s"
    for unit, length, limit in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < limit:
            return f"{seconds / length:.0f} s" if unit == "s" else f"{seconds / length:.1f} {unit}"
    return f"{seconds / 86_400:.1f} days"


def plan_features(
    name: str, store: FeatureStore, model_bytes: int, speed: FeaturizingSpeed | None
) -> StagePlan:
    """Plan the features of one side."""
    fingerprint, shards = store.fingerprint, store.layout.num_shards
    memory = model_bytes + bytes_while_written(fingerprint) + (speed.memory if speed else 0)
    note = (
        f"{fingerprint.samples:,} x {fingerprint.proj_dim:,} {fingerprint.dtype}, {shards:,} shards"
    )
    if speed:
        note += f", {speed.how}, {speed.images_per_second:.3g} images/s"
    seconds = fingerprint.samples / speed.images_per_second if speed else None
    return StagePlan(name, bytes_on_disk(fingerprint, shards), 0, memory, seconds, note)


def plan_gram_stage(
    store: FeatureStore, config: PlanConfig, speed: ArithmeticSpeed | None
) -> tuple[StagePlan, GramPlan]:
    """Plan the Gram matrix; raises as `plan_gram`."""
    options = config.gram_options
    limit = parse_size(options.memory_limit, flag="--memory-limit")
    with connect(options.scheduler) as cluster:
        plan = plan_gram(store, options.gram_form, memory_limit=limit, workers=cluster.workers)
    inner = len(store) if plan.form == "primal" else store.proj_dim
    flops = sum(2.0 * len(tile.rows) * len(tile.columns) * inner for tile in plan.tiles())
    seconds = flops / speed.single if speed else None
    note = f"{plan.form}, {plan.size:,} x {plan.size:,}, {_counted(_tiles(plan), 'tile')}"
    size = 8 * plan.size**2
    memory = tile_bytes(store, plan.form, plan.tile_size, plan.workers)
    return StagePlan("Gram matrix", size, size, memory, seconds, note), plan


def _tiles(plan: GramPlan) -> int:
    return sum(1 for _ in plan.tiles())


def plan_score_stage(
    train: FeatureStore,
    query: FeatureStore,
    gram: GramPlan | None,
    config: PlanConfig,
    speed: ArithmeticSpeed | None,
) -> StagePlan:
    """Plan the scores, of a method without a kernel if there is no Gram matrix.

    Raises as `plan_scores`.
    """
    options = config.score_options
    limit = parse_size(config.gram_options.memory_limit, flag="--memory-limit")
    work = _score_work(gram, config)
    plan = plan_scores(train, query, options, work, memory_limit=limit)
    cells = 4 * len(query) * len(train) if plan.save_scores else 0
    lists = 24 * len(query) * min(options.top_k, len(train))
    kept = "all scores" if plan.save_scores else f"the {options.top_k} strongest of each end"
    note = f"{kept}, {_counted(len(plan.queries), 'pass', 'passes')} over the training features"
    seconds = sum(_score_seconds(train, query, gram, plan, config, speed)) if speed else None
    scratch = cells + lists * len(plan.shards)
    fixed = replace(options, save_scores="yes" if plan.save_scores else "no")

    def queries_at_a_time(limit: int) -> int:
        cut = plan_scores(train, query, fixed, work, memory_limit=limit)
        return len(cut.queries[0])

    memory = _least_memory(queries_at_a_time, limit)
    return StagePlan("scores", cells + lists, scratch, memory, seconds, note)


def _score_work(gram: GramPlan | None, config: PlanConfig) -> ScoreWork:
    options, method = config.score_options, find_method(config.score_options.method)
    if gram is None:
        return ScoreWork(None, normalisation=method.normalisation)
    return ScoreWork(
        parse_dampings(options.damping),
        gram_size=gram.size,
        form=gram.form,
        normalisation=method.normalisation,
        sums=3 if options.error_bars else 0,
    )


def _least_memory(queries_at_a_time: Callable[[int], int], limit: int) -> int:
    """Return the smallest memory limit that leaves the work cut as it is under `limit`."""
    wanted, low, high = queries_at_a_time(limit), 0, limit
    while high - low > 1:
        middle = (low + high) // 2
        try:
            fits = queries_at_a_time(middle) >= wanted
        except MemoryLimitError:
            fits = False
        low, high = (low, middle) if fits else (middle, high)
    return high


def _score_seconds(
    train: FeatureStore,
    query: FeatureStore,
    gram: GramPlan | None,
    plan: ScorePlan,
    config: PlanConfig,
    speed: ArithmeticSpeed,
) -> Iterator[float]:
    samples, queries, size = len(train), len(query), gram.size if gram else 0
    eigenvalues = _EIGENVALUE_FLOPS if config.score_options.damping == "auto" else 0
    yield 2 * size**3 * (_FACTOR_FLOPS + eigenvalues) / 2 / speed.double
    yield 2 * queries * size**2 * 2 / speed.double
    yield 2 * queries * samples * train.proj_dim / speed.single
    on_disk = bytes_on_disk(train.fingerprint, train.layout.num_shards)
    yield len(plan.queries) * on_disk / _READ_RATE


def _counted(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"
