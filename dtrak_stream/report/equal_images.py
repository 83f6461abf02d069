"""Which of the training images on a page are there several times, as their store tells."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from dtrak_stream.data.equal_images import EQUAL_IMAGES_NAME
from dtrak_stream.scoring.scored_images import images_of
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.store.layout import read_layout
from dtrak_stream.support.table_cells import name_in

# where the main job has the store of training images, or the first of several
_STORES = ("train", "train/probe-000", "models/0/train", "models/0/train/probe-000")


def equal_lists_beside(scores: Path) -> list[Path]:
    """Return the list of equal training images in the run that scores lie in; none without one.

    Scores of further queries lie in RUN/queries/NAME.
    """
    folder = scores.absolute().parent
    run = folder.parents[1] if folder.parent.name == "queries" else folder
    paths = (run / store / EQUAL_IMAGES_NAME for store in _STORES)
    return [path for path in paths if path.is_file()][:1]


def equal_images_shown(scores: ScoresFile, queries: Iterable[int], count: int) -> Mapping[str, int]:
    """Return how many equal images there are of those that a page shows, by their ids.

    Parameters
    ----------
    scores
        The opened file.
    queries, count
        The page shows these queries, each with so many images at both ends.

    Returns
    -------
    mapping of str to int
        At least 2, the image itself among them; nothing for an image that is there once, or
        where the images beside the scores are not those that were scored.
    """
    lists = equal_lists_beside(scores.path)
    if not lists or not _is_of(lists[0].parent, scores):
        return {}
    shown = {
        scores.train_id(each.index)
        for query in queries
        for each in (*scores.top(query, count), *scores.bottom(query, count))
    }
    firsts = {again: first for again, first in _rows(lists[0]) if again in shown}
    wanted = shown | set(firsts.values())
    repeats = Counter(first for _, first in _rows(lists[0]) if first in wanted)
    found = {name: 1 + repeats[firsts.get(name, name)] for name in shown}
    return {name: number for name, number in found.items() if number > 1}


def _is_of(store: Path, scores: ScoresFile) -> bool:
    if not (store / "store.json").is_file():
        return False
    return images_of(read_layout(store)) == scores.attributes.get("train_images")


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each image that is there again, and the first one it is equal to."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows, None)
        for row in rows:
            if len(row) == 2:
                yield name_in(row[0]), name_in(row[1])
