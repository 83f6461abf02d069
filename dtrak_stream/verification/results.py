"""Checking a Gram matrix and a scores file against the stores they were made of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.errors import CorruptFileError, FingerprintMismatchError
from dtrak_stream.gram import read_gram
from dtrak_stream.groups.lists import GroupLists
from dtrak_stream.progress import progress
from dtrak_stream.score.scores_file import Ranked, ScoresFile
from dtrak_stream.store import FeatureStore

_SCORE_AGAIN = "remove it and run tools/score.py again"
_ASYMMETRY = 1e-9  # of the largest entry; both halves of the matrix are one number written twice

Stores = Mapping[str, FeatureStore]
"""The stores of a run folder by the hash of their fingerprint."""


def verify_gram(path: Path, stores: Stores) -> str:
    """Read a Gram matrix; return one line about it.

    Raises
    ------
    FingerprintMismatchError
        If it belongs to no store of the run.
    CorruptFileError
        If it is damaged, or no Gram matrix of its store.
    """
    gram = read_gram(path)
    if gram.fingerprint not in stores:
        raise _foreign(path, "Gram matrix: fingerprint", gram.fingerprint, stores)
    store = stores[gram.fingerprint]
    size = store.proj_dim if gram.form == "primal" else len(store)
    problem = ""
    if gram.matrix.shape != (size, size):
        problem = f"has shape {gram.matrix.shape}, {gram.form} wants ({size}, {size})"
    elif (gram.matrix.diagonal() < 0).any():
        problem = "has a negative number on its diagonal"
    elif not _symmetric(gram.matrix):
        problem = "is not symmetric"
    if problem:
        raise CorruptFileError(problem, where=path, remedy="remove it and run tools/gram.py again")
    return f"{gram.form}, {size:,} x {size:,}, of {store.layout.root.name}"


def _symmetric(matrix: NDArray[np.float64]) -> bool:
    largest = float(np.abs(matrix.diagonal()).max(initial=0.0))
    return all(  # row by row: a transposed copy may not fit
        np.allclose(row, column, rtol=0, atol=_ASYMMETRY * largest)
        for row, column in zip(matrix, matrix.T, strict=True)
    )


def verify_scores(path: Path, stores: Stores, *, visible: bool) -> str:
    """Read a scores file; return one line about it.

    Raises
    ------
    FingerprintMismatchError
        If it was made of no store of the run, or of other samples.
    InputError, CorruptFileError
        If it is not a scores file, or its parts contradict each other.
    """
    with ScoresFile(path) as scores, GroupLists(path) as groups:
        usable = {side: _verify_side(scores, side, stores) for side in ("train", "query")}
        with progress(
            scores.query_count, description="checking scores", unit="query", visible=visible
        ) as bar:
            for query in range(scores.query_count):
                _verify_query(scores, query, usable)
                bar.update()
        kept = "all scores" if scores.has_all_scores else "rankings only"
        grouped = f", {groups.count:,} groups" if groups.count else ""
        return (
            f"{scores.attributes['method']}, {scores.query_count:,} queries x "
            f"{scores.train_count:,} training samples, {kept}{grouped}"
        )


def _verify_side(scores: ScoresFile, side: str, stores: Stores) -> NDArray[np.bool_]:
    """Check the samples of one side; return which of them have features."""
    name = f"{side}_fingerprint"
    stored = str(scores.attributes.get(name))
    if stored not in stores:
        raise _foreign(scores.path, name, stored, stores)
    store = stores[stored]
    ids = scores.ids("train" if side == "train" else "query")
    if len(ids) != len(store) or (ids != store.sample_ids()).any():
        raise FingerprintMismatchError(
            f"{side}_id",
            f"{len(ids)} ids",
            f"{len(store)} others",
            where=scores.path,
            remedy=_SCORE_AGAIN,
        )
    return store.usable()


def _verify_query(scores: ScoresFile, query: int, usable: dict[str, NDArray[np.bool_]]) -> None:
    top, bottom = (end(query, scores.top_k) for end in (scores.top, scores.bottom))
    expected = usable["train"].sum() if usable["query"][query] else 0
    length = min(scores.top_k, int(expected))
    if not len(top) == len(bottom) == length:
        raise _damaged(scores, query, f"has lists of {len(top)} and {len(bottom)}, not {length}")
    for ranked, sign in ((top, -1), (bottom, 1)):
        values = [sign * entry.score for entry in ranked]
        if values != sorted(values) or len({entry.index for entry in ranked}) < len(ranked):
            raise _damaged(scores, query, "has a ranking that is out of order")
    if any(not usable["train"][entry.index] for entry in (*top, *bottom)):
        raise _damaged(scores, query, "ranks a quarantined training sample")
    if scores.has_all_scores:
        _verify_row(scores, query, [*top, *bottom], usable)


def _verify_row(
    scores: ScoresFile, query: int, ranked: list[Ranked], usable: dict[str, NDArray[np.bool_]]
) -> None:
    row = scores.scores(query)
    wanted = usable["train"] & usable["query"][query]
    if (np.isfinite(row) != wanted).any():
        place = int(np.flatnonzero(np.isfinite(row) != wanted)[0])
        state = "no score" if wanted[place] else "a score though it is quarantined"
        raise _damaged(scores, query, f"has {state} for training sample {place}")
    if any(row[entry.index] != np.float32(entry.score) for entry in ranked):
        raise _damaged(scores, query, "has a ranking that contradicts its scores")
    if ranked and np.nanmax(row) != np.float32(ranked[0].score):
        raise _damaged(scores, query, "has a score above the top of its ranking")


def _damaged(scores: ScoresFile, query: int, what: str) -> CorruptFileError:
    return CorruptFileError(f"query {query} {what}", where=scores.path, remedy=_SCORE_AGAIN)


def _foreign(path: Path, what: str, stored: str, stores: Stores) -> FingerprintMismatchError:
    known = ", ".join(f"{store.layout.root.name} {name}" for name, store in stores.items())
    return FingerprintMismatchError(
        what,
        stored,
        known or "no store",
        where=path,
        remedy="it was made of other features: remove it and run its stage again, or put back "
        "the store it belongs to",
    )
