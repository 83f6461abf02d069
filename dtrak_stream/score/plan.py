"""How scoring is cut so that it stays under a memory limit, and so that it can be resumed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dtrak_stream.errors import MemoryLimitError
from dtrak_stream.memory import format_enough, format_size
from dtrak_stream.score.options import ScoreOptions
from dtrak_stream.store import FeatureStore
from dtrak_stream.store.store import BLOCK_BYTES

_ROWS_PER_PART = 16_384


@dataclass(frozen=True)
class ScorePlan:
    """How queries and training samples are cut.

    Attributes
    ----------
    queries
        Blocks of queries that are scored together: each is one pass over the training store.
    shards
        Blocks of training shards: what is scored for one block of queries in one step.
    save_scores
        Whether all scores are kept, or the strongest only.
    """

    queries: tuple[range, ...]
    shards: tuple[range, ...]
    save_scores: bool

    def parts(self) -> Iterator[tuple[int, int, str]]:
        """Yield (query block, shard block, name) of each step."""
        for q in range(len(self.queries)):
            for s in range(len(self.shards)):
                yield q, s, f"part-{q:06d}-{s:06d}"


def plan_scores(
    train: FeatureStore,
    query: FeatureStore,
    options: ScoreOptions,
    *,
    gram_size: int,
    memory_limit: int,
    group_bytes: tuple[int, int] = (0, 0),
) -> ScorePlan:
    """Choose the largest blocks of queries that fit in `memory_limit` bytes.

    Parameters
    ----------
    train, query
        The two stores.
    options
        Whether to keep all scores (`auto`: if they would fit in memory), and how long lists are.
    gram_size
        d of the (d, d) Gram matrix.
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
    step = max(1, _ROWS_PER_PART // shard_rows)
    part_rows = min(step * shard_rows, len(train))
    shared, each = _shared_bytes(train, gram_size), _bytes_per_query(train, gram_size, part_rows)
    shared, each = shared + group_bytes[0], each + group_bytes[1]
    each += 3 * 2 * (4 + 8) * min(options.top_k, len(train))  # both lists, and two copies
    fitting = (memory_limit - shared) // each
    if fitting < 1:
        needed = format_enough(shared + each)
        raise MemoryLimitError(
            f"scoring with a {gram_size:,} x {gram_size:,} Gram matrix needs {needed}",
            where=f"--memory-limit {format_size(memory_limit)}",
            remedy=f"allow at least {needed}, or featurize with a smaller --proj-dim",
        )
    fits = 4 * len(query) * len(train) <= memory_limit
    return ScorePlan(
        queries=_cut(len(query), fitting),
        shards=_cut(train.layout.num_shards, step),
        save_scores=options.save_scores == "yes" or (options.save_scores == "auto" and fits),
    )


def _shared_bytes(train: FeatureStore, gram_size: int) -> int:
    # the matrix, its eigenvalue work copy, and the factor's inverse for the degrees of freedom
    kernel = 3 * 8 * gram_size**2
    return kernel + 2 * min(BLOCK_BYTES, 4 * train.proj_dim * train.fingerprint.rows_per_shard)


def _bytes_per_query(train: FeatureStore, gram_size: int, part_rows: int) -> int:
    # stored and preconditioned queries, float64 solve; dual scores; one part and its copies
    return (4 + 4 + 8 + 8) * train.proj_dim + (4 + 8 + 8) * gram_size + 4 * 4 * part_rows


def _cut(total: int, step: int) -> tuple[range, ...]:
    return tuple(range(start, min(start + step, total)) for start in range(0, total, step))
