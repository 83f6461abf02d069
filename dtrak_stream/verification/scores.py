"""Checking a scores file against the stores it was made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from dtrak_stream.errors import CorruptFileError, FingerprintMismatchError
from dtrak_stream.groups.lists import GroupLists
from dtrak_stream.kernel.damping import parse_dampings
from dtrak_stream.scoring.scored_images import images_of
from dtrak_stream.scoring.scores_checksums import refuse_flipped
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.scoring.scores_layout import FITTED_TO, Side, damping_group, damping_names
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.row_set import NO_ROWS
from dtrak_stream.support.names import FixedWidthNames, first_difference
from dtrak_stream.support.obstacles import refuse_unavailable
from dtrak_stream.support.progress import progress
from dtrak_stream.verification.rankings import SCORE_AGAIN, Usable, verify_query
from dtrak_stream.verification.run_stores import RunStores

_SIDES: tuple[Side, ...] = ("train", "query")


def verify_scores(path: Path, stores: RunStores, *, visible: bool) -> str:
    """Read a scores file, of a list of dampings all; return one line about it.

    Raises
    ------
    FingerprintMismatchError
        If it was made of a store that is not in the run, or of other samples.
    InputError, CorruptFileError
        If it is not a scores file, its parts contradict each other, or one is not what its
        checksum says.
    """
    with _damage_told(path):
        dampings = _dampings(path)
        for damping in dampings:
            line = _verify_one(path, damping, stores, visible=visible)
        line += "" if dampings == [None] else f", {len(dampings)} dampings"
        has_checksums = refuse_flipped(path)
    told = "checksums hold" if has_checksums else "without checksums, as older versions wrote it"
    return f"{line}, {told}"


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """Tell what HDF5 and NumPy say of a file whose parts cannot be read as a fault of it."""
    try:
        yield
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        refuse_unavailable(path, error)
        raise CorruptFileError(
            f"parts of it cannot be read ({error})", where=path, remedy=SCORE_AGAIN
        ) from error


def _dampings(path: Path) -> list[int | None]:
    """Return the numbers of all dampings in a file, None alone where it holds no list."""
    with h5py.File(path, "r") as file:
        found, text = damping_names(file), str(file.attrs.get("damping", "none"))
    listed = text != "none" and parse_dampings(text).several
    count = len(parse_dampings(text).each) if listed else len(found)
    if found != [damping_group(number) for number in range(count)]:
        raise CorruptFileError(
            f"holds scores for {len(found)} dampings ({', '.join(found) or 'no group'}), "
            f"the list {text} has {count}",
            where=path,
            remedy=SCORE_AGAIN,
        )
    return list(range(count)) if found else [None]


def _verify_one(path: Path, damping: int | None, stores: RunStores, *, visible: bool) -> str:
    """Check the scores for one damping; return one line about them."""
    with ScoresFile(path, damping) as scores, GroupLists(path, scores.root_name) as groups:
        usable = _usable(scores, stores)
        with progress(
            scores.query_count, description="checking scores", unit="query", visible=visible
        ) as bar:
            for query in range(scores.query_count):
                verify_query(scores, groups, query, usable)
                bar.update()
        parts = ["all scores" if scores.has_all_scores else "rankings only"]
        parts += ["error bars"] if scores.has_errors else []
        parts += [f"{groups.count:,} groups"] if groups.count else []
        return (
            f"{scores.attributes['method']}, {scores.query_count:,} queries x "
            f"{scores.train_count:,} training samples, {', '.join(parts)}"
        )


def _usable(scores: ScoresFile, stores: RunStores) -> Usable:
    """Return which samples of each side must have scores: those with a feature in every store."""
    attributes = scores.attributes
    if FITTED_TO in attributes and scores.has_all_scores:
        return _scored(scores)
    hashes = {side: str(attributes.get(f"{side}_fingerprint")).split(",") for side in _SIDES}
    if len(hashes["train"]) != len(hashes["query"]):
        raise CorruptFileError(
            f"names {len(hashes['train'])} training stores and {len(hashes['query'])} of queries",
            where=scores.path,
            remedy=SCORE_AGAIN,
        )
    return {side: _usable_side(scores, side, hashes[side], stores) for side in _SIDES}


def _usable_side(
    scores: ScoresFile, side: Side, hashes: list[str], stores: RunStores
) -> NDArray[np.bool_]:
    """Check the samples of one side against the stores; return which have all features."""
    ids = scores.ids(side)
    usable, removed = np.ones(len(ids), np.bool_), NO_ROWS
    for fingerprint in hashes:
        store = stores.find(f"{side}_fingerprint", fingerprint, scores.path)
        _refuse_other_samples(scores, side, ids, store)
        usable &= store.usable()
        removed = removed | store.layout.removed
    if not np.array_equal(scores.removed(side), removed.rows):
        raise CorruptFileError(
            f"tells {len(scores.removed(side)):,} removed samples ({side}), its stores "
            f"{len(removed):,} or others",
            where=scores.path,
            remedy=SCORE_AGAIN,
        )
    return usable


def _refuse_other_samples(
    scores: ScoresFile, side: Side, ids: FixedWidthNames, store: FeatureStore
) -> None:
    scored, featurized = scores.images(side), images_of(store.layout)
    if scored and featurized not in ("", scored):
        raise FingerprintMismatchError(
            f"{side}_images", scored, featurized, where=scores.path, remedy=SCORE_AGAIN
        )
    if len(ids) != len(store) or first_difference(ids, store.ids) is not None:
        raise FingerprintMismatchError(
            f"{side}_id",
            f"{len(ids)} ids",
            f"{len(store)} others of {store.layout.root.name}",
            where=scores.path,
            remedy=SCORE_AGAIN,
        )


def _scored(scores: ScoresFile) -> Usable:
    """Return which samples have a score in a file that was made of no features."""
    train = np.zeros(scores.train_count, np.bool_)
    query = np.zeros(scores.query_count, np.bool_)
    for number in range(scores.query_count):
        finite = np.isfinite(scores.scores(number))
        train |= finite
        query[number] = finite.any()
    return {"train": train, "query": query}
