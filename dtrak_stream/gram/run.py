"""The Gram matrix of a store of features, computed by Dask block by block out of core."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import add
from pathlib import Path
from typing import Any

import torch
from dask.delayed import Delayed

from dtrak_stream.errors import CorruptFileError, InterruptedRunError
from dtrak_stream.gram.file import GRAM_FILE, Gram, write_gram
from dtrak_stream.gram.options import GramConfig, GramResult
from dtrak_stream.gram.plan import GramPlan, Tile, chosen_form, cut, plan_gram, plan_on
from dtrak_stream.gram.products import Arithmetic, Matrix, sum_of_products
from dtrak_stream.gram.update import bring_up_to_date
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.row_stream import CPU
from dtrak_stream.support.arithmetic import repeatable
from dtrak_stream.support.checkpoints import Checkpoints
from dtrak_stream.support.claims import alone_with, remove_dead_claim
from dtrak_stream.support.cluster import connect, task
from dtrak_stream.support.destinations import refuse_without_room
from dtrak_stream.support.device import device_of_products, free_memory
from dtrak_stream.support.memory import format_size, parse_size
from dtrak_stream.support.progress import progress, say
from dtrak_stream.support.provenance import record_run
from dtrak_stream.support.shared_work import Cluster


def compute_gram(config: GramConfig) -> GramResult:
    """Compute the Gram matrix, or finish what an interrupted run began.

    The matrix of the store as it was before rows were appended or removed is brought up to date.

    Products are float32, sums are float64, in an order that depends neither on interruptions nor
    on who computes: sums of a few groups of shards are added in a tree where they were computed,
    and the sums of these ranges one after the other here.
    Of several calls at once, one computes, and the others wait for its file; if it dies, another
    goes on where it stopped.

    Raises
    ------
    InputError
        If `out` is something else than a Gram matrix.
    FingerprintMismatchError
        If `out` is the Gram matrix of another store or of another form.
    CorruptFileError
        If a shard is damaged.
    MemoryLimitError
        If no plan fits in the memory limit.
    ConfigurationError
        If there is no such device here.
    DiskFullError
        If there is no room for the matrix and the sums it is made from.
    ClusterError
        If the scheduler of the workers is lost, or a product ends one worker after the other.
    """
    store = FeatureStore.open(config.store)
    _device(config)
    limit = parse_size(config.options.memory_limit, flag="--memory-limit")
    if not GRAM_FILE.refuse_other(config.out, flag="--out (or --run)", kept=True):
        Checkpoints.refuse_foreign(config.out)
        with alone_with(config.out):
            if not config.out.exists():  # whoever was waited for may have written it
                return GramResult(config.out, _compute(config, store, limit))
    if Gram.open(config.out).is_of_earlier(store):
        with alone_with(config.out):
            if Gram.open(config.out).is_of_earlier(store):  # whoever was waited for may be done
                return GramResult(config.out, _compute_or_update(config, store, limit))
    _refuse_other_file(config, store)
    say(f"{config.out}: already complete")
    return GramResult(config.out, 0)


def _compute(config: GramConfig, store: FeatureStore, limit: int) -> int:
    """Compute the matrix; return how many products that were."""
    options = config.options
    device = torch.device(config.cluster.device_here(str(_device(config))))
    if device.type != "cpu" and config.cluster.is_this_process:
        limit = min(limit, free_memory(device))
    # what is set there for all threads stays so until all are done
    with (
        repeatable(device, tf32=config.tf32),
        connect(config.cluster, sum_of_products) as cluster,
    ):
        plan = plan_on(cluster, store, options.gram_form, memory_limit=limit)
        record_run(config.out.with_suffix(".config.yaml"), config)
        GramRun(store, plan, cluster, config.out, not config.quiet, device, config.tf32).run()
    return plan.num_tasks


def _device(config: GramConfig) -> torch.device:
    return device_of_products(config.device, tf32=config.tf32)


def _compute_or_update(config: GramConfig, store: FeatureStore, limit: int) -> int:
    """Replace the matrix of a store as it was; return how many products were computed for it."""
    gram, form = Gram.open(config.out), chosen_form(store, config.options.gram_form)
    plan = plan_gram(store, form, memory_limit=limit, workers=1)
    refuse_without_room(config.out, 8 * plan.size**2)
    exact = not (gram.tf32 or config.tf32)
    if not exact or not bring_up_to_date(gram, store, plan):
        return _compute(config, store, limit)
    record_run(config.out.with_suffix(".config.yaml"), config)
    return sum(1 for _ in plan.tiles())


def _refuse_other_file(config: GramConfig, store: FeatureStore) -> None:
    """Refuse a file that is there and is no such Gram matrix; drop what a killed run left."""
    form = chosen_form(store, config.options.gram_form)
    fingerprint = store.layout.state
    Gram.open(config.out).refuse_other(fingerprint, form, tf32=config.tf32)
    Checkpoints.discard_leftovers(config.out, {"fingerprint": fingerprint, "form": form})
    remove_dead_claim(config.out)


@dataclass(frozen=True)
class Step:
    """A range of groups whose sum is added to that of a tile.

    Attributes
    ----------
    tile
        The tile.
    start, stop
        Groups that its sum is of, before and after.
    is_first
        Whether it is the first one of this call.
    before
        The sum of the groups up to `start`, for the first step; None where it is of none.
    """

    tile: Tile
    start: int
    stop: int
    is_first: bool
    before: Matrix | None


@dataclass(frozen=True)
class GramRun:
    """One computation of a Gram matrix.

    Attributes
    ----------
    store, plan, cluster, out
        What is multiplied, how it is cut, where it runs, where it goes.
    visible
        Whether to draw a progress bar.
    device, tf32
        Where workers compute products, and whether their factors may be cut there to 11 bits.
    """

    store: FeatureStore
    plan: GramPlan
    cluster: Cluster
    out: Path
    visible: bool
    device: torch.device = CPU
    tf32: bool = False

    @property
    def arithmetic(self) -> Arithmetic:
        """Return how products are computed."""
        return Arithmetic(self.plan.rows_at_a_time, str(self.device), self.tf32)

    def run(self) -> None:
        """Compute all tiles, keeping partial sums, and join them into the result."""
        plan = self.plan
        say(
            f"Gram matrix: {plan.form}, {plan.size:,} x {plan.size:,} "
            f"({format_size(8 * plan.size**2)}), tiles of {plan.tile_size:,}, "
            f"{self.cluster.at_a_time(plan.workers)} at a time"
        )
        checkpoints = Checkpoints.beside(self.out, self._identity())
        self._refuse_without_room(checkpoints)
        with progress(
            plan.num_tasks, description="Gram matrix", unit="product", visible=self.visible
        ) as bar:
            try:
                self._add_up(checkpoints, bar.update)
            except KeyboardInterrupt as interrupt:
                raise InterruptedRunError(
                    f"partial sums are kept in {checkpoints.folder}"
                ) from interrupt
        write_gram(self.out, plan, self.store, self._finished_tiles(checkpoints), self.arithmetic)
        checkpoints.discard()

    def _refuse_without_room(self, checkpoints: Checkpoints) -> None:
        """Refuse to begin if the disk cannot hold the matrix, and all its tiles until then."""
        tiles = sum(8 * len(tile.rows) * len(tile.columns) for tile in self.plan.tiles())
        needed = 8 * self.plan.size**2 + max(0, tiles - checkpoints.kept_bytes())
        refuse_without_room(self.out, needed)

    def _identity(self) -> dict[str, Any]:
        return {
            "fingerprint": self.store.layout.state,
            "form": self.plan.form,
            "tile_size": self.plan.tile_size,
            "groups": len(self.plan.groups),
            "groups-per-range": self.plan.groups_per_range,
            "rows_at_a_time": self.plan.rows_at_a_time,
            "device": self.device.type,
            "tf32": self.tf32,
        }

    def _add_up(self, checkpoints: Checkpoints, advance: Callable[[int], object]) -> None:
        """Bring the sums of all tiles to completion, each from its last checkpoint."""
        steps: deque[Step] = deque()
        tasks = self._tasks(checkpoints, steps, advance)
        total: Matrix | None = None
        for part in self.cluster.in_order(tasks, self._ranges_begun, at_a_time=self.plan.workers):
            step = steps.popleft()
            total = step.before if step.is_first else total
            if total is None:
                total = part
            else:
                total += part
            del part  # the next one may need its memory
            checkpoints.save(f"{step.tile.name}-after-{step.stop:06d}", total=total)
            checkpoints.drop(f"{step.tile.name}-after-{step.start:06d}")
            advance(step.stop - step.start)

    def _tasks(
        self, checkpoints: Checkpoints, steps: deque[Step], advance: Callable[[int], object]
    ) -> Iterator[Delayed]:
        """Yield the sum of each range of each tile, and note in `steps` which it is."""
        tiles = list(self.plan.tiles())
        for number, tile in enumerate(tiles, start=1):
            begun, before = self._resume(tile, checkpoints)
            advance(begun)
            done = begun
            for groups in self.plan.ranges(begun):
                is_first = done == begun
                steps.append(
                    Step(tile, done, done + len(groups), is_first, before if is_first else None)
                )
                done += len(groups)
                is_near_end = number == len(tiles) and self._is_near_end(done)
                yield self._sum(tile, groups, 1 if is_near_end else self._groups_per_task)

    def _sum(self, tile: Tile, groups: tuple[range, ...], per_task: int) -> Delayed:
        """Return the sum over a range as a tree of tasks: the same to the bit for any number."""
        tasks = [
            task(sum_of_products, self.store, self.plan.form, tile, some, self.arithmetic)
            for some in cut(groups, per_task)
        ]
        return _tree(tasks)

    @property
    def _ranges_begun(self) -> int:
        """Return how many ranges are begun, and their sums not taken yet."""
        ahead = max(1, self.plan.ahead)
        if self.cluster.workers == self.cluster.threads:
            return ahead
        # those of other processes wait in their own memory
        return ahead + 1 + self.cluster.workers // self.plan.groups_per_range

    @property
    def _groups_per_task(self) -> int:
        """Return how many groups of a range, a power of two, one task sums.

        The more, the fewer sums pass between workers, and the longer each reads on while it
        multiplies; but what is begun is to be work for all of them, and one more. Threads that
        share a memory limit take one at a time, which takes the least memory.
        """
        per_range = self.plan.groups_per_range
        workers = self.cluster.at_a_time(self.plan.workers)
        if workers == 1:
            return per_range
        if self.plan.workers > 1:
            return 1
        size = 1
        while size < per_range and per_range // (2 * size) * self._ranges_begun > workers:
            size *= 2
        return size

    def _is_near_end(self, done: int) -> bool:
        """Return whether after group `done` of the last tile not every worker has a range left.

        Then tasks are small, so that all workers end together.
        """
        workers = self.cluster.at_a_time(self.plan.workers)
        return workers > 1 and sum(1 for _ in self.plan.ranges(done)) < workers

    def _resume(self, tile: Tile, checkpoints: Checkpoints) -> tuple[int, Matrix | None]:
        """Return how many groups the last checkpoint of a tile sums, and the sum."""
        prefix = f"{tile.name}-after-"
        for name in sorted(checkpoints.names(), reverse=True):
            if name.startswith(prefix):
                arrays = checkpoints.load(name)
                if arrays is not None:
                    return int(name.removeprefix(prefix)), arrays["total"]
        return 0, None

    def _finished_tiles(self, checkpoints: Checkpoints) -> Iterator[tuple[Tile, Matrix]]:
        for tile in self.plan.tiles():
            _, total = self._resume(tile, checkpoints)
            if total is None:
                raise CorruptFileError(
                    f"a finished part ({tile.name}) was damaged since it was written",
                    where=checkpoints.folder,
                    remedy="run the same command again; it computes that part anew",
                )
            yield tile, total


def _tree(parts: list[Delayed]) -> Delayed:
    """Return the sum of some matrices, each added to its neighbour, then these sums, and so on."""
    while len(parts) > 1:
        pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
        parts = [task(add, *pair) if len(pair) > 1 else pair[0] for pair in pairs]
    return parts[0]
