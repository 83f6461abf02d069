"""What the scores of a run would take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from dtrak_stream.attribution.plan import AttributionPlan
from dtrak_stream.errors import MemoryLimitError
from dtrak_stream.gram.plan import GramPlan
from dtrak_stream.kernel.spectrum import EXACT_SIZE
from dtrak_stream.planning.calibration import ArithmeticSpeed
from dtrak_stream.planning.stages import StagePlan, counted
from dtrak_stream.scoring.options import ScoreOptions
from dtrak_stream.scoring.plan import ScorePlan, ScoreWork, plan_scores, score_work
from dtrak_stream.scoring.room import score_room
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.room import bytes_on_disk
from dtrak_stream.support.memory import parse_size

_READ_RATE = 10**9  # bytes a second from the page cache or a fast disk
_FACTOR_FLOPS = 2 / 3  # d^3: the Cholesky factor, and its inverse for the degrees of freedom
_EIGENVALUE_FLOPS = 8 / 3  # d^3: 4/3, at half the speed of products
_EIGENVECTOR_FLOPS = 9  # d^3: eigenvalues with vectors, at the same
_ITERATIONS = 100  # of conjugate gradients, as a guess


@dataclass(frozen=True)
class PlannedScores:
    """What is scored.

    Attributes
    ----------
    train, query
        The largest training store, and its queries.
    stores
        How many training stores there are: of several models, or of probes.
    options
        What the user chose.
    work
        Kernel and normalisation.
    plan
        How it is cut.
    """

    train: FeatureStore
    query: FeatureStore
    stores: int
    options: ScoreOptions
    work: ScoreWork
    plan: ScorePlan


def plan_score_stage(
    pairs: Sequence[tuple[FeatureStore, FeatureStore]],
    grams: Sequence[GramPlan],
    job: AttributionPlan,
    speed: ArithmeticSpeed | None,
) -> StagePlan:
    """Plan the scores: one set for each damping, over the training and query stores of `pairs`.

    Parameters
    ----------
    pairs
        Training and query store of each model, and of each probe.
    grams
        The Gram matrices, one for each pair; none for a method without a kernel.
    job, speed
        The run, and how fast this machine is.

    Raises
    ------
    MemoryLimitError
        As `plan_scores`.
    """
    options, trains = job.score.options, [train for train, _ in pairs]
    limit = parse_size(job.score.memory_limit, flag="--memory-limit")
    work = score_work(job.method, options, job.dampings, grams, trains)
    train, query = max(pairs, key=lambda pair: pair[0].proj_dim)
    plan = plan_scores(train, query, options, work, memory_limit=limit)
    planned = PlannedScores(train, query, len(pairs), options, work, plan)
    room = score_room(plan, options)
    seconds = sum(_seconds(planned, speed)) if speed else None
    memory = _least_memory(planned, limit)
    return StagePlan("scores", room.file, room.parts, memory, seconds, _note(planned))


def _note(planned: PlannedScores) -> str:
    options, plan, lambdas = planned.options, planned.plan, planned.work.lambdas
    kept = "all scores" if plan.save_scores else f"the {options.top_k} strongest of each end"
    kept += " with error bars" if options.error_bars else ""
    kept += f" for each of {lambdas} dampings" if lambdas > 1 else ""
    passes = counted(len(plan.queries), "pass", "passes")
    many = f" of {planned.stores:,} stores" if planned.stores > 1 else ""
    return f"{kept}, {passes} over the training features{many}"


def _least_memory(planned: PlannedScores, limit: int) -> int:
    """Return the smallest memory limit that leaves the work cut as it is under `limit`."""
    kept: Literal["yes", "no"] = "yes" if planned.plan.save_scores else "no"
    options = replace(planned.options, save_scores=kept)

    def queries_at_a_time(limit: int) -> int:
        cut = plan_scores(planned.train, planned.query, options, planned.work, memory_limit=limit)
        return len(cut.queries[0]) if cut.solver == planned.plan.solver else 0

    return _least(queries_at_a_time, limit)


def _least(queries_at_a_time: Callable[[int], int], limit: int) -> int:
    wanted, low, high = queries_at_a_time(limit), 0, limit
    while high - low > 1:
        middle = (low + high) // 2
        try:
            fits = queries_at_a_time(middle) >= wanted
        except MemoryLimitError:
            fits = False
        low, high = (low, middle) if fits else (middle, high)
    return high


def _seconds(planned: PlannedScores, speed: ArithmeticSpeed) -> Iterator[float]:
    """Yield about how long the steps of scoring take, over all stores (and halves of them)."""
    train, work, lambdas = planned.train, planned.work, planned.work.lambdas
    samples, queries, size = len(train), len(planned.query), work.gram_size
    terms = planned.stores * (3 if planned.options.error_bars else 1)
    yield terms * _kernel_flops(planned) / speed.double
    solved = queries + (samples if work.normalisation.needs_solves else 0)
    yield terms * lambdas * solved * 4 * size**2 / speed.double
    yield terms * lambdas * 2 * queries * samples * train.proj_dim / speed.single
    on_disk = bytes_on_disk(train.fingerprint, train.layout.num_shards)
    yield terms * len(planned.plan.queries) * on_disk / _READ_RATE


def _kernel_flops(planned: PlannedScores) -> float:
    size, solver = planned.work.gram_size, planned.plan.solver
    if solver == "eigenvectors":
        return _EIGENVECTOR_FLOPS * float(size) ** 3
    if solver == "cholesky":
        eigenvalues = _EIGENVALUE_FLOPS if size <= EXACT_SIZE else 0
        return (_FACTOR_FLOPS + eigenvalues) * float(size) ** 3
    columns = planned.work.lambdas * len(planned.query)
    return 2.0 * _ITERATIONS * size**2 * columns if solver == "conjugate gradients" else 0.0
