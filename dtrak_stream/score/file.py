"""The scores file: put together from scored blocks, in one durable write."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dtrak_stream.checkpoints import Checkpoints
from dtrak_stream.durable import durable_path
from dtrak_stream.errors import CorruptFileError, DiskFullError
from dtrak_stream.memory import format_size
from dtrak_stream.progress import say
from dtrak_stream.score.scorer import Scorer
from dtrak_stream.score.top import RunningTop
from dtrak_stream.store import FeatureStore

SIGN_CONVENTION = (
    "positive = proponent: including the sample lowers the query's loss; "
    "an LDS correlates the loss with minus the score"
)


def is_scored(path: Path, identity: dict[str, Any]) -> bool:
    """Return whether `path` already holds the scores that `identity` describes."""
    if not path.exists():
        return False
    try:
        with h5py.File(path, "r") as file:
            stored = dict(file.attrs)
    except (OSError, RuntimeError):
        say(f"{path}: cannot be read, scoring again")
        return False
    for name, value in identity.items():
        if stored.get(name) != value:
            say(f"{path}: was made with {name} {stored.get(name)!r}, now {value!r}; scoring again")
            return False
    return True


def store_attributes(train: FeatureStore, query: FeatureStore) -> dict[str, Any]:
    """Return what the scores file tells about the features it was made of."""
    fingerprint = train.fingerprint
    return {
        "output_function": fingerprint.output_function,
        "timesteps": ",".join(map(str, fingerprint.timesteps)),
        "noise": fingerprint.noise_keying,
        "noise_draws": fingerprint.noise_draws,
        "projector": fingerprint.projector,
        "proj_dim": fingerprint.proj_dim,
        "num_parameters": fingerprint.num_parameters,
        "seed": fingerprint.seed,
        "image_shape": fingerprint.image_shape,
        "train_samples": len(train),
        "query_samples": len(query),
        "quarantined_train": int((~train.usable()).sum()),
        "quarantined_query": int((~query.usable()).sum()),
        "sign_convention": SIGN_CONVENTION,
    }


def write_scores(
    path: Path, scorer: Scorer, checkpoints: Checkpoints, attributes: dict[str, Any]
) -> None:
    """Join all scored blocks into the scores file.

    Datasets: `scores` (Q, N) float32 if the plan keeps them, `top_index` and `bottom_index`
    (Q, top_k) int64, `top_score` and `bottom_score` (Q, top_k) float32, `query_id` (Q,),
    `train_id` (N,); with groups, those of `GroupSums.begin`.

    Raises
    ------
    CorruptFileError
        If a kept block was damaged since it was written.
    DiskFullError
        If there is no room.
    """
    with durable_path(path) as partial, h5py.File(partial, "w", libver="latest") as file:
        file["query_id"] = scorer.query.sample_ids()
        file["train_id"] = scorer.train.sample_ids()
        if scorer.plan.save_scores:
            shape = (len(scorer.query), len(scorer.train))
            file.create_dataset("scores", shape, np.float32)
        shape = (len(scorer.query), scorer.top_k)
        for end in ("top", "bottom"):
            file.create_dataset(f"{end}_index", shape, np.int64)
            file.create_dataset(f"{end}_score", shape, np.float32)
        scorer.groups.begin(file)
        for q in range(len(scorer.plan.queries)):
            _write_query_block(file, q, scorer, checkpoints)
        file.attrs.update(attributes)


def _write_query_block(file: Any, q: int, scorer: Scorer, checkpoints: Checkpoints) -> None:
    queries = scorer.plan.queries[q]
    rows = slice(queries.start, queries.stop)
    lists = {end: RunningTop(len(queries), scorer.top_k) for end in ("top", "bottom")}
    totals = scorer.groups.totals(len(queries))
    for block, s, name in scorer.plan.parts():
        if block != q:
            continue
        part = checkpoints.load(name)
        if part is None:
            raise CorruptFileError(
                f"a scored block ({name}) was damaged since it was written",
                where=checkpoints.folder,
                remedy="run the same command again; it scores that block anew",
            )
        if scorer.plan.save_scores:
            columns = scorer.columns(s)
            file["scores"][rows, columns.start : columns.stop] = part["scores"]
        totals.add(part)
        for end, running in lists.items():
            running.update(part[f"{end}_score"], part[f"{end}_index"])
    totals.write(file, rows)
    for end, running in lists.items():
        index, scores = running.listed()
        file[f"{end}_index"][rows] = index
        file[f"{end}_score"][rows] = scores if end == "top" else -scores


def refuse_without_room(path: Path, scorer: Scorer, checkpoints: Checkpoints) -> None:
    """Refuse to score if the disk cannot hold what is still to score, and the scores file.

    Raises
    ------
    DiskFullError
        Saying how much is needed.
    """
    cells = len(scorer.query) * len(scorer.train) if scorer.plan.save_scores else 0
    lists = 24 * len(scorer.query) * scorer.top_k
    parts = 4 * cells + lists * len(scorer.plan.shards)
    names = [name for _, _, name in scorer.plan.parts()]
    missing = len(set(names) - checkpoints.names()) / len(names)
    needed = 4 * cells + lists + int(parts * missing)
    needed += scorer.groups.disk_bytes(len(scorer.plan.shards))
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise DiskFullError(
            f"{format_size(needed)} are needed and {format_size(free)} are free",
            where=path,
            remedy="free some space and run the same command again, or use --save-scores no",
        )
