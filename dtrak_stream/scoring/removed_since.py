"""Scores of before samples were removed: nothing is shown of them that were taken back since.

A scores file tells where the stores were that it was made of, from its own folder on, and their
state. A store that is still there tells by its history what was removed after that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from dtrak_stream.errors import InputError
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.scoring.scores_layout import SIDES, Side
from dtrak_stream.store.layout import StoreLayout, read_layout
from dtrak_stream.support.progress import say

_BETWEEN = "\n"  # paths hold commas


def store_places(stores: Sequence[StoreLayout], scores: Path) -> str:
    """Return where stores are, from the folder of a scores file on, for its attributes."""
    folder = _folder_of(scores)
    return _BETWEEN.join(os.path.relpath(os.path.realpath(each.root), folder) for each in stores)


def refuse_removed_since(scores: ScoresFile) -> None:
    """Refuse scores that hold samples which were removed from their stores since.

    Of stores that are elsewhere by now, it is said that this could not be looked up. Files that do
    not tell where their stores were are looked up beside those of a run: `train` and `query`.

    Raises
    ------
    InputError
        If samples were removed.
    CorruptFileError
        If the plan or the history of a store cannot be read.
    """
    unknown = []
    for side in SIDES:
        for root, state in _stores_of(scores, side):
            then = _state_then(root, state)
            if then is not None:
                _refuse_removed(scores, root, then)
            elif _tells_places(scores, side):
                unknown.append(str(root))
    if unknown:
        say(
            f"note: whether samples were removed since {scores.path} was made could not be looked "
            f"up: {', '.join(unknown)} is not there, or another store by now"
        )


def _refuse_removed(scores: ScoresFile, root: Path, then: StoreLayout) -> None:
    gone = len(read_layout(root).removed - then.removed)
    if gone:
        raise InputError(
            f"holds {gone:,} samples that were removed from {root} since",
            where=scores.path,
            remedy="score again with the command that wrote it, which leaves them out",
        )


def _state_then(root: Path, state: str) -> StoreLayout | None:
    """Return the store as it was when it had a state; None if it is not there, or never had."""
    if not (root / "store.json").is_file():
        return None
    layout = read_layout(root)
    return layout if layout.state == state else layout.earlier_state(state)


def _stores_of(scores: ScoresFile, side: Side) -> Iterator[tuple[Path, str]]:
    """Yield where each store of a side was, and its state then."""
    attributes = scores.attributes
    places = str(attributes.get(f"{side}_store", side)).split(_BETWEEN)
    states = str(attributes.get(f"{side}_fingerprint", "")).split(",")
    for place, state in zip(places, states, strict=False):
        yield Path(os.path.normpath(_folder_of(scores.path) / place)), state


def _tells_places(scores: ScoresFile, side: Side) -> bool:
    return f"{side}_store" in scores.attributes


def _folder_of(scores: Path) -> Path:
    return Path(os.path.realpath(scores.parent))
