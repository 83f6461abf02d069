"""How scoring is cut to stay under a memory limit and to be resumable, and its room on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from dtrak_stream.errors import MemoryLimitError
from dtrak_stream.gram.file import ROW_BLOCK_BYTES, Gram
from dtrak_stream.gram.plan import GramForm, GramPlan
from dtrak_stream.kernel.damping import DampingChoices
from dtrak_stream.kernel.lanczos import PROBES
from dtrak_stream.kernel.spectrum import EXACT_SIZE
from dtrak_stream.methods import Method
from dtrak_stream.scoring.normalisation import NORMALISATIONS, ROWS_AT_A_TIME, Normalisation
from dtrak_stream.scoring.options import ScoreOptions
from dtrak_stream.scoring.sampled import ROWS_OF_RUN, SAMPLED_QUERIES, SAMPLED_RUNS
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.row_stream import stream_bytes
from dtrak_stream.support.memory import format_enough, format_size

Solver = Literal["none", "cholesky", "eigenvectors", "conjugate gradients"]

_ROWS_PER_PART = 16_384
_ROWS_AT_A_TIME = 4096
_STREAM_BYTES = 32 * 2**20
_SHARE_OF_STREAM = 8
_VECTORS_OF_GRADIENTS = 6  # right side, solution, direction, image, and two products
_VECTORS_OF_LANCZOS = 5
_COPIES_OF_SAMPLE = 6  # of one model, joined, as they are kept; their sum, transformed, in float64


@dataclass(frozen=True)
class ScorePlan:
    """How queries and training samples are cut.

    Attributes
    ----------
    queries
        Blocks of queries that are scored together: each is one pass over the training store.
    rows
        Blocks of training rows: what is scored for one block of queries in one step.
    save_scores
        Whether all scores are kept, or the strongest only.
    solver
        How the kernel is applied.
    rows_at_a_time
        Training rows that are read at a time.
    lambdas, sums
        As those of the work that is cut.
    """

    queries: tuple[range, ...]
    rows: tuple[range, ...]
    save_scores: bool
    solver: Solver = "none"
    rows_at_a_time: int = _ROWS_AT_A_TIME
    lambdas: int = 1
    sums: int = 0

    def parts(self) -> Iterator[tuple[int, int, str]]:
        """Yield (query block, row block, name) of each step."""
        for q in range(len(self.queries)):
            for r in range(len(self.rows)):
                yield q, r, _part_name(q, r)

    def parts_of(self, query_block: int) -> Iterator[tuple[range, str]]:
        """Yield (training rows, name) of each step of a block of queries."""
        for r, rows in enumerate(self.rows):
            yield rows, _part_name(query_block, r)


@dataclass(frozen=True)
class ScoreWork:
    """What decides how much memory scoring takes, besides the sizes of the stores.

    Attributes
    ----------
    dampings
        The lambdas; None for a method without a kernel.
    gram_size
        d of the (d, d) Gram matrix; 0 without a kernel.
    form
        Its form.
    normalisation
        What scores are divided by.
    sums
        Sums of terms that are kept side by side: none for a single term, 3 with error bars, one
        more for a sum of streams.
    samples
        Whether scores of a sample are computed before all others, for the scale of a stream.
    """

    dampings: DampingChoices | None
    gram_size: int = 0
    form: GramForm = "primal"
    normalisation: Normalisation = NORMALISATIONS["none"]
    sums: int = 0
    samples: bool = False

    @property
    def lambdas(self) -> int:
        """Return L, the number of lambdas, 1 without a kernel."""
        return len(self.dampings.each) if self.dampings else 1

    def solvers(self) -> tuple[Solver, ...]:
        """Return the ways to apply the kernel, the fastest first."""
        if self.dampings is None:
            return ("none",)
        first: Solver = "eigenvectors" if self.dampings.several else "cholesky"
        # a solve for every training sample would be a pass over the matrix for every few of them
        in_memory_only = self.dampings.whole_path or self.normalisation.needs_solves
        if in_memory_only or self.gram_size <= EXACT_SIZE:
            return (first,)
        return (first, "conjugate gradients")


def score_work(
    method: Method,
    options: ScoreOptions,
    dampings: DampingChoices | None,
    grams: Sequence[Gram | GramPlan],
    stores: Sequence[FeatureStore],
) -> ScoreWork:
    """Return what decides how much memory scoring takes.

    Parameters
    ----------
    method, options
        What is scored.
    dampings
        The lambdas; None for a method without a kernel.
    grams
        The Gram matrices, of every training store; none for a method without a kernel.
    stores
        The training stores: one for each term.
    """
    variants, streams = 3 if options.error_bars else 1, len(method.streams)
    return ScoreWork(
        dampings,
        gram_size=max((gram.size for gram in grams), default=0),
        form=grams[0].form if grams else "primal",
        normalisation=NORMALISATIONS[method.normalisation],
        sums=slots_of(streams, variants) if variants * len(stores) > 1 else 0,
        samples=any(stream.scaled for stream in method.streams),
    )


def slots_of(streams: int, variants: int) -> int:
    """Return how many sums are kept side by side: one for each variant, and the latest stream's."""
    return variants + (streams > 1)


def plan_scores(
    train: FeatureStore,
    query: FeatureStore,
    options: ScoreOptions,
    work: ScoreWork,
    *,
    memory_limit: int,
    group_bytes: tuple[int, int] = (0, 0),
) -> ScorePlan:
    """Choose the fastest solver and the largest blocks of queries that fit in `memory_limit`.

    Parameters
    ----------
    train, query
        The two stores.
    options
        Whether to keep all scores (`auto`: if they would fit in memory), and how long lists are.
    work
        Kernel and normalisation.
    memory_limit
        Bytes for arrays.
    group_bytes
        Of these, what sums per group take: in all, and for each query that is in work.

    Raises
    ------
    MemoryLimitError
        If the kernel and one query do not fit.
    """
    shard_rows = train.fingerprint.rows_per_shard
    part_rows = min(max(1, _ROWS_PER_PART // shard_rows) * shard_rows, len(train))
    room, needs = _stream_room(train, memory_limit), []
    for solver in work.solvers():
        shared = _shared_bytes(train, work, solver, part_rows) + group_bytes[0]
        each = _bytes_per_query(train, options, work, solver, part_rows)
        each += work.lambdas * group_bytes[1]
        sampled = _sample_bytes(train, query, work, solver)
        fitting = (memory_limit - room - shared) // each
        if fitting >= 1 and memory_limit - room - shared >= sampled:
            fits = 4 * work.lambdas * len(query) * len(train) <= memory_limit
            kept = {"yes": True, "no": False, "auto": fits}
            return ScorePlan(
                queries=_cut(len(query), fitting),
                rows=_cut(len(train), part_rows),
                save_scores=kept[options.save_scores],
                solver=solver,
                rows_at_a_time=_rows_at_a_time(train, room),
                lambdas=work.lambdas,
                sums=work.sums,
            )
        needs.append(_limit_for(train, shared + max(each, sampled)))
    raise _too_small(work, min(needs), memory_limit)


def _stream_room(store: FeatureStore, memory_limit: int) -> int:
    """Return how many bytes of the limit are for rows that are read, and on their way."""
    return max(min(_STREAM_BYTES, memory_limit // _SHARE_OF_STREAM), stream_bytes(store, 1))


def _limit_for(store: FeatureStore, needed: int) -> int:
    """Return a limit that leaves `needed` bytes beside `_stream_room`."""
    share = needed * _SHARE_OF_STREAM // (_SHARE_OF_STREAM - 1) + _SHARE_OF_STREAM
    return max(needed + stream_bytes(store, 1), min(needed + _STREAM_BYTES, share))


def _rows_at_a_time(store: FeatureStore, room: int) -> int:
    """Return how many rows are read at a time: more would only take more memory."""
    rows = _ROWS_AT_A_TIME
    while rows > 1 and stream_bytes(store, rows) > room:
        rows //= 2
    return rows


def _too_small(work: ScoreWork, needed: int, memory_limit: int) -> MemoryLimitError:
    size, enough = work.gram_size, format_enough(needed)
    path = work.dampings is not None and work.dampings.whole_path
    matrix = f" with a {size:,} x {size:,} Gram matrix" if size else ""
    remedy = "list fewer dampings" if path else "featurize with a smaller --proj-dim"
    return MemoryLimitError(
        f"scoring{matrix} needs {enough}",
        where=f"--memory-limit {format_size(memory_limit)}",
        remedy=f"allow at least {enough}, or {remedy}",
    )


def _shared_bytes(train: FeatureStore, work: ScoreWork, solver: Solver, part_rows: int) -> int:
    factors = 2 * 8 * work.lambdas * part_rows if work.normalisation.of_training else 0
    if work.normalisation.needs_solves:
        length = train.proj_dim if work.form == "primal" else work.gram_size
        rows = min(ROWS_AT_A_TIME, part_rows)
        factors += 8 * rows * length * (4 + 3 * work.lambdas)  # right sides, solutions, products
    return _kernel_bytes(work.gram_size, solver) + factors


def _part_name(query_block: int, row_block: int) -> str:
    return f"part-{query_block:06d}-{row_block:06d}"


def _kernel_bytes(size: int, solver: Solver) -> int:
    matrix, row_block = 8 * size**2, min(8 * size**2, ROW_BLOCK_BYTES)
    lanczos = 8 * size * PROBES * _VECTORS_OF_LANCZOS
    if solver == "cholesky" and size <= EXACT_SIZE:
        return 3 * matrix  # the matrix, and a copy that eigenvalues are computed of
    if solver == "cholesky":
        return matrix + max(row_block, lanczos)
    if solver == "eigenvectors":
        return 2 * matrix + row_block + 8 * 64 * size  # eigenvectors, and LAPACK's work
    return row_block + lanczos if solver == "conjugate gradients" else 0


def _bytes_per_query(
    train: FeatureStore, options: ScoreOptions, work: ScoreWork, solver: Solver, part_rows: int
) -> int:
    lambdas = work.lambdas
    parts = 4 * 4 * lambdas * part_rows  # one part and its copies
    sums = 3 * 4 * lambdas * part_rows * work.sums
    # both, two copies, and what is to be exceeded with what waits to be merged
    lists = 4 * 2 * (4 + 8) * lambdas * min(options.top_k, len(train))
    return _bytes_to_solve(train, work, solver) + parts + sums + lists


def _bytes_to_solve(train: FeatureStore, work: ScoreWork, solver: Solver) -> int:
    """Return what a query takes besides its scores of a part."""
    lambdas, size = work.lambdas, work.gram_size
    # stored and preconditioned queries, float64 solve; dual scores
    queries = (4 + 4 * lambdas + 8 + 8 * lambdas) * train.proj_dim
    scores = (4 + 8 + 8 * lambdas) * size
    vectors = 8 * _VECTORS_OF_GRADIENTS * lambdas * size
    return queries + scores + (vectors if solver == "conjugate gradients" else 0)


def _sample_bytes(train: FeatureStore, query: FeatureStore, work: ScoreWork, solver: Solver) -> int:
    """Return what the scores of a sample take, which are one block: nothing where none is taken."""
    if not work.samples:
        return 0
    # the rows of a query as they are read are joined; sampled scores are averaged and transformed
    each = _bytes_to_solve(train, work, solver) + 4 * train.proj_dim
    each += _COPIES_OF_SAMPLE * 4 * work.lambdas * min(SAMPLED_RUNS * ROWS_OF_RUN, len(train))
    return min(SAMPLED_QUERIES, len(query)) * each


def _cut(total: int, step: int) -> tuple[range, ...]:
    return tuple(range(start, min(start + step, total)) for start in range(0, total, step))
