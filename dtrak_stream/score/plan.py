"""How scoring is cut so that it stays under a memory limit, and so that it can be resumed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dtrak_stream.errors import MemoryLimitError
from dtrak_stream.memory import format_size
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
    train: FeatureStore, query: FeatureStore, *, gram_size: int, memory_limit: int, save_scores: str
) -> ScorePlan:
    """Choose the largest blocks of queries that fit in `memory_limit` bytes.

    Parameters
    ----------
    train, query
        The two stores.
    gram_size
        d of the (d, d) Gram matrix.
    memory_limit
        Bytes for arrays.
    save_scores
        `yes`, `no`, or `auto`: if all scores would fit in memory.

    Raises
    ------
    MemoryLimitError
        If the kernel alone does not fit.
    """
    # the matrix, its eigenvalue work copy, and the factor's inverse for the degrees of freedom
    kernel_bytes = 3 * 8 * gram_size**2
    free = memory_limit - kernel_bytes - 2 * BLOCK_BYTES
    shard_rows = train.fingerprint.rows_per_shard
    step = max(1, _ROWS_PER_PART // shard_rows)
    part_rows = min(step * shard_rows, len(train))
    # stored and preconditioned queries, float64 solve; dual scores; one part and its copies
    each = (4 + 4 + 8 + 8) * train.proj_dim + (4 + 8 + 8) * gram_size + 4 * 4 * part_rows
    fitting = free // each
    if fitting < 1:
        needed = format_size(kernel_bytes + 2 * BLOCK_BYTES + each)
        raise MemoryLimitError(
            f"scoring with a {gram_size:,} x {gram_size:,} Gram matrix needs {needed}",
            where=f"--memory-limit {format_size(memory_limit)}",
            remedy=f"allow at least {needed}, or featurize with a smaller --proj-dim",
        )
    fits = 4 * len(query) * len(train) <= memory_limit
    return ScorePlan(
        queries=_cut(len(query), fitting),
        shards=_cut(train.layout.num_shards, step),
        save_scores=save_scores == "yes" or (save_scores == "auto" and fits),
    )


def _cut(total: int, step: int) -> tuple[range, ...]:
    return tuple(range(start, min(start + step, total)) for start in range(0, total, step))
