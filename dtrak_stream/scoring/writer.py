"""The scores file: put together from scored blocks, in one durable write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dtrak_stream.errors import refuse_differences
from dtrak_stream.scoring.rankings import JoinedLists
from dtrak_stream.scoring.room import score_room
from dtrak_stream.scoring.running_top import ENDS
from dtrak_stream.scoring.scorer import Scorer
from dtrak_stream.scoring.scores_checksums import write_checksums
from dtrak_stream.scoring.scores_layout import SCORES_FILE, SEEN, damping_group, subject_of
from dtrak_stream.scoring.sums import required_part
from dtrak_stream.scoring.terms import Terms
from dtrak_stream.support import destinations
from dtrak_stream.support.checkpoints import Checkpoints
from dtrak_stream.support.durable import remove_partials_of
from dtrak_stream.support.hdf5 import new_hdf5
from dtrak_stream.support.names import write_names
from dtrak_stream.support.progress import say

_ADDED_LATER = {"tf32": False, "seen": "off", "neighbours": 0}
"""What files that lack an attribute were made with."""


def finished_scores(
    path: Path, identity: dict[str, Any], *, told: Callable[[str], object] = say
) -> dict[str, Any] | None:
    """Return the attributes of the scores file at `path` if `identity` describes it, else None.

    Nothing but the attributes is read. `told` is called with what differs in a file of the same
    subject, which is to be replaced.

    Raises
    ------
    InputError
        If something else than a scores file is there.
    FingerprintMismatchError
        If its scores are of other features, or fitted to another truth.
    """
    if not SCORES_FILE.refuse_other(path, flag="--out (or --run)", kept=True):
        return None
    with h5py.File(path, "r") as file:
        stored = dict(file.attrs)
    wanted = subject_of(identity)
    refuse_differences(
        ((name, value, wanted[name]) for name, value in subject_of(stored).items()),
        where=path,
        remedy="its scores are of something else and are kept: give another --out (or --run)",
    )
    for name, value in identity.items():
        if stored.get(name, _ADDED_LATER.get(name)) != value:
            destinations.require_file(path, flag="--out (or --run)")
            told(f"{path}: was made with {name} {stored.get(name)!r}, now {value!r}; scoring again")
            return None
    return stored


def quarantined_in(attributes: dict[str, Any]) -> int:
    """Return how many samples of either set have no scores, as a scores file tells."""
    return int(attributes["quarantined_train"] + attributes["quarantined_query"])


def write_scores(
    path: Path,
    scorer: Scorer,
    checkpoints: Checkpoints,
    attributes: dict[str, Any],
    of_lambda: Sequence[dict[str, Any]],
) -> None:
    """Join all scored blocks into the scores file.

    Datasets: `query_id` (Q,), `train_id` (N,), where samples were removed `query_removed` and
    `train_removed` (n,) int64, their numbers, where residuals are given `seen` (N,) float32, the
    probability that the model saw a sample, NaN if it is not known, and for one lambda `scores` (Q,
    N) float32 if the plan keeps them, `top_index` and `bottom_index` (Q, top_k) int64, `top_score`
    and `bottom_score` (Q, top_k) float32; with error bars also `score_error` (Q, N),
    `top_score_error` and `bottom_score_error` (Q, top_k) float32: one standard error; with groups,
    those of `GroupSums.begin`. Where a list of lambdas was asked for, each has a group
    `damping_000`, `damping_001`, ... that holds these datasets, and the attributes of that lambda.
    All of it has checksums, see `write_checksums`.

    Raises
    ------
    CorruptFileError
        If a kept block was damaged since it was written.
    DiskFullError
        If there is no room.
    """
    remove_partials_of(path)
    with new_hdf5(path) as new:
        file = new.file
        write_names(file, "query_id", scorer.query.ids, scorer.query.ids.width)
        write_names(file, "train_id", scorer.train.ids, scorer.train.ids.width)
        _write_removed(file, scorer.terms)
        if scorer.seen is not None:
            file.create_dataset(SEEN, data=scorer.seen.judgement.probability)
        file.attrs.update(attributes)
        groups = []
        for each, attributes_of_lambda in enumerate(of_lambda):
            group = file.create_group(damping_group(each)) if scorer.several else file
            group.attrs.update(attributes_of_lambda)
            _create_datasets(group, scorer)
            groups.append(group)
        for q, rows in enumerate(scorer.plan.queries):
            _write_query_block(groups, q, rows, scorer, checkpoints)
            new.check()  # what could not be written cannot be read
        write_checksums(file)


def _write_removed(file: Any, terms: Terms) -> None:
    """Write which samples of either side were removed, if any were."""
    for side, removed in (("query", terms.query_removed), ("train", terms.train_removed)):
        if len(removed):
            file.create_dataset(f"{side}_removed", data=removed.rows)


def _create_datasets(group: Any, scorer: Scorer) -> None:
    cells, lists = (len(scorer.query), len(scorer.train)), (len(scorer.query), scorer.top_k)
    suffixes = ("score", "score_error") if scorer.options.error_bars else ("score",)
    if scorer.plan.save_scores:
        for name in ("scores", *suffixes[1:]):
            group.create_dataset(name, cells, np.float32)
    for end in ENDS:
        group.create_dataset(f"{end}_index", lists, np.int64)
        for suffix in suffixes:
            group.create_dataset(f"{end}_{suffix}", lists, np.float32)
    scorer.groups.begin(group)


def _write_query_block(
    groups: Sequence[Any], q: int, queries: range, scorer: Scorer, checkpoints: Checkpoints
) -> None:
    """Write what all lambdas say of a block of queries; each of its parts is read once."""
    rows = slice(queries.start, queries.stop)
    lists = [JoinedLists(scorer.top_k) for _ in groups]
    totals = [scorer.groups.totals(len(queries)) for _ in groups]
    for columns, name in scorer.plan.parts_of(q):
        part = required_part(checkpoints, name)
        for each, group in enumerate(groups):
            for cells in {"scores", "score_error"} & part.keys():
                group[cells][rows, columns.start : columns.stop] = part[cells][each]
            totals[each].add(part, each)
            lists[each].add(part, each)
    for group, joined, sums in zip(groups, lists, totals, strict=True):
        for name, array in joined.arrays().items():
            group[name][rows] = array
        sums.write(group, rows)


def refuse_without_room(path: Path, scorer: Scorer, checkpoints: Checkpoints) -> None:
    """Refuse to score if the disk cannot hold what is still to score, and the scores file.

    Raises
    ------
    DiskFullError
        Saying how much is needed.
    """
    room = score_room(scorer.plan, scorer.options)
    names = [name for _, _, name in scorer.plan.parts()]
    missing = len(set(names) - checkpoints.names()) / len(names)
    needed = room.file + int(room.parts * missing)
    needed += scorer.lambdas * scorer.groups.disk_bytes(len(scorer.plan.rows))
    remedy = "free some space and run the same command again, or use --save-scores no"
    destinations.refuse_without_room(path, needed, remedy=remedy)
