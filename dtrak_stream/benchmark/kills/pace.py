"""How fast images went by, from what was seen of the processes that took them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from dtrak_stream.benchmark.kills.lives import Life, Seen


@dataclass(frozen=True)
class Rate:
    """Images a second, by the clock and of a processor; 0 where too little was seen to tell."""

    by_clock: float
    by_cpu: float


@dataclass(frozen=True)
class Pace:
    """Shards and images of a store.

    Attributes
    ----------
    num_shards, rows_per_shard, images
        Of the store.
    """

    num_shards: int
    rows_per_shard: int
    images: int

    def of_first_tenth(self, lives: Iterable[Life]) -> Rate:
        """Return the rate of the first tenth of the shards."""
        return self._rate(lives, 0, self._tenth)

    def of_last_tenth(self, lives: Iterable[Life]) -> Rate:
        """Return the rate of the last tenth of the shards."""
        return self._rate(lives, self.num_shards - self._tenth, self.num_shards)

    @property
    def _tenth(self) -> int:
        return max(2, -(-self.num_shards // 10))

    def _rate(self, lives: Iterable[Life], first: int, after: int) -> Rate:
        images, seconds, cpu_seconds = 0, 0.0, 0.0
        for before, then in steady(lives):
            if first <= before.shards and then.shards <= after:
                images += self._images(then.shards) - self._images(before.shards)
                seconds += then.seconds - before.seconds
                cpu_seconds += then.cpu_seconds - before.cpu_seconds
        if not images:
            return Rate(0.0, 0.0)
        return Rate(images / seconds, images / cpu_seconds)

    def _images(self, shards: int) -> int:
        return min(self.images, shards * self.rows_per_shard)


def steady(lives: Iterable[Life]) -> Iterator[tuple[Seen, Seen]]:
    """Yield what was seen at one shard and at the next, without starts and ends of processes."""
    for life in lives:
        for before, then in pairwise(life.seen[1:]):
            if then.shards > before.shards:
                yield before, then
