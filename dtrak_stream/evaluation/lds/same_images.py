"""Whether scores and truth are about the same images, which names alone do not tell."""

from __future__ import annotations

from dtrak_stream.evaluation.truth import TruthFile
from dtrak_stream.scoring.scored_images import ROLES, ComparedImages, refuse_other_images
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.scoring.scores_layout import Side
from dtrak_stream.support.names import Names, first_difference


def refuse_scores_of_other_images(scores: ScoresFile, truth: TruthFile, key: str) -> None:
    """Refuse scores of other images than those of a truth file; say where that cannot be told.

    The hash of images depends on their order: where samples are matched by name because they
    stand in another order, it says nothing.

    Parameters
    ----------
    scores, truth
        The opened files.
    key
        Which set of queries.

    Raises
    ------
    FingerprintMismatchError
        With both hashes.
    """

    def train_images() -> str | None:
        return truth.train_images if _in_order(scores, "train", truth.train_ids()) else None

    def query_images() -> str | None:
        names = truth.query_ids(key)
        encoded = None if names is None else [name.encode() for name in names]
        return truth.query_images(key) if _in_order(scores, "query", encoded) else None

    identities = {"train": train_images, "query": query_images}
    refuse_other_images(
        scores,
        [
            ComparedImages(
                side,
                truth.path,
                remedy=f"give scores of the {ROLES[side]} that the truth is about",
                identity=identities[side],
                shape=truth.image_shape,
            )
            for side in ROLES
        ],
    )


def _in_order(scores: ScoresFile, side: Side, names: Names | None) -> bool:
    """Return whether the samples of a side are named as in the truth, or go by position."""
    if names is None:
        return True
    ids = scores.ids(side)
    return len(ids) == len(names) and first_difference(ids, names) is None
