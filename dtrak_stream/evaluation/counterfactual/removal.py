"""Which training images are removed: the strongest proponents of a query, or random ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from dtrak_stream.data.images import Images
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.errors import ConfigurationError, InputError
from dtrak_stream.evaluation.counterfactual.queries import GeneratedQueries
from dtrak_stream.evaluation.recipe import Recipe
from dtrak_stream.evaluation.subsets import draw_subset
from dtrak_stream.scoring.removed_since import refuse_removed_since
from dtrak_stream.scoring.scored_images import ComparedImages, refuse_other_images
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.support.name_index import order_by_name
from dtrak_stream.support.names import ListedNames


@dataclass(frozen=True)
class Removal:
    """A set of training images, taken out together.

    Attributes
    ----------
    removed
        (n,) int64 image numbers, ascending.
    count
        N.
    """

    removed: NDArray[np.int64]
    count: int

    @property
    def name(self) -> str:
        """Return the name of what is trained without them: a hash of their numbers."""
        return xxhash.xxh3_64_hexdigest(self.removed.astype("<i8").tobytes())

    @property
    def kept(self) -> NDArray[np.int64]:
        """Return the other image numbers, ascending."""
        return np.setdiff1d(np.arange(self.count), self.removed)


def random_removal(
    left: NDArray[np.int64], count: int, removed: int, *, seed: int, number: int
) -> Removal:
    """Return a random set of those of `count` images that are `left`, uniform among its size."""
    mask = draw_subset(len(left), removed, seed=seed, number=number)
    return Removal(left[mask], count)


def images_left(paths: Iterable[Path], images: Images) -> NDArray[np.int64]:
    """Return the training images that no scores file tells to have been removed, ascending.

    Raises
    ------
    InputError
        If a file is of samples that were removed since, or is not about these images.
    """
    left = np.ones(len(images), np.bool_)
    for path in paths:
        with ScoresFile(path) as scores:
            refuse_removed_since(scores)
            order, removed = _order(scores, images), scores.removed("train")
            left[removed if order is None else order[removed]] = False
    return np.flatnonzero(left)


def proponent_removals(
    path: Path, queries: GeneratedQueries, recipe: Recipe, removed: int
) -> dict[str, Removal]:
    """Return, for each query, the `removed` training images with the highest scores.

    Of equal scores, earlier images go first; images without a score are never removed.

    Raises
    ------
    InputError
        If the file lacks a query, a training image, or enough scores.
    FingerprintMismatchError
        If it has scores of other images.
    """
    images = recipe.images
    with ScoresFile(path) as scores:
        order = _order(scores, images)
        rows = {name: row for row, name in enumerate(scores.query_ids())}
        removals = {}
        refuse_other_images(
            scores,
            [
                _training_images(images, in_order=order is None),
                _generated_images(scores, queries, recipe),
            ],
        )
        for query in queries.ids:
            if query not in rows:
                raise InputError(
                    f"has no scores for the query {query}",
                    where=path,
                    remedy="score all images of the --generated folder, or give fewer --queries",
                )
            best = _best(scores, rows[query], removed)
            places = best if order is None else order[best]
            removals[query] = Removal(np.sort(places), len(images))
    return removals


def _order(scores: ScoresFile, images: Images) -> NDArray[np.int64] | None:
    """Return the number among the images of each training sample; None for the same order."""
    return order_by_name(
        scores.ids("train"),
        ListedNames(images.sample_ids, range(len(images))),
        what="training images",
        where=scores.path,
        other=images.spec,
    )


def _training_images(images: Images, *, in_order: bool) -> ComparedImages:
    """Return what the model was trained on; its hash says nothing of another order."""
    return ComparedImages(
        "train",
        images.spec,
        remedy="score the images that the model was trained on",
        identity=lambda: images.images_identity() if in_order else None,
        shape=images.shape,
        pictures=images.pictures_identity if in_order else None,
    )


def _generated_images(
    scores: ScoresFile, queries: GeneratedQueries, recipe: Recipe
) -> ComparedImages:
    """Return the images that bear the names of the scored queries."""

    def identity() -> str | None:
        shape, ours = recipe.images.shape, scores.images("query")
        every = [ImageOptions(), recipe.config.image_options.elsewhere(None)]
        found = [queries.identity(scores.query_ids(), shape, options) for options in every]
        return ours if ours in found else found[0]

    return ComparedImages(
        "query",
        queries.folder,
        remedy="score the images as dtrak-stream generate wrote them",
        identity=identity,
        shape=recipe.images.shape,
    )


def _best(scores: ScoresFile, row: int, count: int) -> NDArray[np.int64]:
    if scores.has_all_scores:
        values = scores.scores(row)
        known = np.flatnonzero(np.isfinite(values))
        best = known[np.argsort(-values[known], kind="stable")[:count]]
    else:
        best = np.array([entry.index for entry in scores.top(row, count)], np.int64)
    if len(best) < count:
        raise ConfigurationError(
            f"ranks {len(best)} training images of query {scores.query_id(row)} and {count} are "
            "to be removed",
            where=scores.path,
            remedy=f"score with --save-scores yes or --top-k {count}, or lower --remove",
        )
    return best
