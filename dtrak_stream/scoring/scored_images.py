"""Which images scores are of: a hash of each side, kept with them and compared with other images.

Sample ids cannot tell: those of an array are row numbers, and any two arrays have the same. The
hash is `Images.identity`: of the bytes of the images and their order, whatever the path. Of
imported features it is `pictures_identity`: how the images were brought to shape is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.picture_identity import are_comparable, is_of_pictures
from dtrak_stream.errors import FingerprintMismatchError
from dtrak_stream.features.comparing import is_along_a_path
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.scoring.scores_layout import Side
from dtrak_stream.store.layout import StoreLayout
from dtrak_stream.support.progress import say

ROLES: dict[Side, str] = {"train": "training images", "query": "queries"}
"""What the images of a side are called."""


@dataclass(frozen=True)
class ComparedImages:
    """Images that are to be those of one side of a scores file.

    Attributes
    ----------
    side
        Which side.
    where
        What they are called.
    remedy
        What to do if they are others.
    identity
        Returns their hash; None if there is none, or none that could be compared. It is called
        only where the scores keep one, since it may read all images.
    shape
        The shape they were brought to before they were hashed; None for that of the scores.
    count
        Their number, where it must be that of the scores.
    pictures
        Returns the hash of their pictures alone, which scores of imported features keep instead.
    """

    side: Side
    where: object
    remedy: str
    identity: Callable[[], str | None]
    shape: ImageShape | str | None = None
    count: int | None = None
    pictures: Callable[[], str] | None = None


def refuse_other_images(scores: ScoresFile, compared: Iterable[ComparedImages]) -> None:
    """Refuse images that are not those that were scored; say where that cannot be found out.

    Raises
    ------
    FingerprintMismatchError
        With both hashes.
    """
    unknown = [each for each in compared if not _are_the_same(scores, each)]
    if unknown:
        roles = " and ".join(ROLES[each.side] for each in unknown)
        places = ", ".join(dict.fromkeys(str(each.where) for each in unknown))
        say(
            f"note: that the {roles} of {scores.path} are those of {places} could not be checked "
            "by their contents"
        )


def _are_the_same(scores: ScoresFile, compared: ComparedImages) -> bool:
    """Return whether they are; False if it cannot be told."""
    scored = scores.images(compared.side)
    shape = scores.attributes["image_shape"]
    of_pictures = is_of_pictures(scored)
    if not scored or (str(compared.shape or shape) != shape and not of_pictures):
        return False
    role, scored_count = ROLES[compared.side], scores.count(compared.side)
    if compared.count not in (None, scored_count):
        raise _others(compared, f"number of {role}", scored_count, compared.count)
    hashed = compared.pictures if of_pictures else compared.identity
    found = None if hashed is None else hashed()
    if found is None or not are_comparable(scored, found):
        return False
    if found != scored:
        raise _others(
            compared, f"hash of the {role} ({compared.side}_images of {scores.path})", scored, found
        )
    return True


def _others(
    compared: ComparedImages, field: str, scored: object, found: object
) -> FingerprintMismatchError:
    return FingerprintMismatchError(
        field, scored, found, where=compared.where, remedy=compared.remedy
    )


def images_of(store: StoreLayout) -> str:
    """Return the hash of the images whose features a store holds; "" if that is not known.

    Of imported features it is that of the pictures that they were said to be of.
    Where samples are more than images, the fingerprint is about all of it, and the images alone
    are told beside it.
    """
    fingerprint = store.fingerprint
    if fingerprint.is_imported:
        return store.pictures()
    if is_along_a_path(fingerprint.output_function):
        return store.images_alone()
    return store.images_alone() or fingerprint.images
