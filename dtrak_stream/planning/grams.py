"""What the Gram matrices of a run would take."""

from __future__ import annotations

from collections.abc import Sequence

from dtrak_stream.gram import GramOptions
from dtrak_stream.gram.plan import GramPlan, plan_gram, tile_bytes
from dtrak_stream.planning.calibration import ArithmeticSpeed
from dtrak_stream.planning.stages import StagePlan, counted
from dtrak_stream.scoring.halves import HALVES, HalfSketch
from dtrak_stream.store import FeatureStore
from dtrak_stream.support.cluster import connect
from dtrak_stream.support.memory import parse_size


def plan_gram_stage(
    name: str,
    stores: Sequence[FeatureStore],
    options: GramOptions,
    speed: ArithmeticSpeed | None,
) -> tuple[StagePlan, list[GramPlan]]:
    """Plan the Gram matrix of each store; the stores differ in what their features are of only.

    Returns
    -------
    tuple
        The stage, and how each matrix would be cut.

    Raises
    ------
    InputError
        If there is no scheduler at `--scheduler`.
    MemoryLimitError
        As `plan_gram`.
    """
    limit = parse_size(options.memory_limit, flag="--memory-limit")
    with connect(options.scheduler) as cluster:
        plan = plan_gram(stores[0], options.gram_form, memory_limit=limit, workers=cluster.workers)
    return _stage(name, stores, plan, speed), [plan] * len(stores)


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
    with connect(None) as cluster:
        plan = plan_gram(halves[0], "auto", memory_limit=limit, workers=cluster.workers)
    return _stage("Gram matrices of halves", halves, plan, speed)


def _stage(
    name: str, stores: Sequence[FeatureStore], plan: GramPlan, speed: ArithmeticSpeed | None
) -> StagePlan:
    store, count = stores[0], len(stores)
    inner = len(store) if plan.form == "primal" else store.proj_dim
    tiles = list(plan.tiles())
    flops = sum(2.0 * len(tile.rows) * len(tile.columns) * inner for tile in tiles)
    seconds = count * flops / speed.single if speed else None
    note = f"{count:,} matrices, each " if count > 1 else ""
    note += f"{plan.form}, {plan.size:,} x {plan.size:,}, {counted(len(tiles), 'tile')}"
    size = 8 * plan.size**2
    memory = tile_bytes(store, plan.form, plan.tile_size, plan.workers)
    return StagePlan(name, count * size, size, memory, seconds, note)
