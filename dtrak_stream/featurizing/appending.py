"""Images appended to a store: that those it has are the first ones of what is given now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from dtrak_stream.errors import ConfigurationError, FingerprintMismatchError
from dtrak_stream.features.path_features import is_trajectory
from dtrak_stream.store.changing import appended, require_complete
from dtrak_stream.store.layout import StoreLayout, read_layout
from dtrak_stream.store.store_set import StoreSet

_REMEDY = "give the images and options of the store, and behind those images the new ones"


def grown(stores: StoreSet, first_images: Callable[[int], str]) -> StoreSet:
    """Return stores as they will be once the images that they lack are appended.

    Stores that are not there are begun; those that lack no image are as they are. Nothing is
    written.

    Parameters
    ----------
    stores
        The stores of all images.
    first_images
        Returns the hash of the first so many images, which reads them.

    Raises
    ------
    FingerprintMismatchError
        If a store has other images than the first ones, or was begun with other options.
    InputError
        If a store lacks shards of the images it has.
    ConfigurationError
        If it is of sampling paths.
    """
    first = cache(first_images)  # stores of probes have the same ones
    return replace(stores, layouts=tuple(_grown(layout, first) for layout in stores.layouts))


def _grown(layout: StoreLayout, first_images: Callable[[int], str]) -> StoreLayout:
    if not layout.plan_path.exists():
        return layout
    stored, wanted = read_layout(layout.root), layout.fingerprint
    if stored.fingerprint == wanted:
        return stored
    if is_trajectory(wanted.output_function):
        raise ConfigurationError(
            "sampling paths cannot be appended",
            where=f"--append --output-function {wanted.output_function}",
            remedy="featurize them into a store of their own",
        )
    count = stored.fingerprint.samples
    is_longer = wanted.samples > count
    stored.fingerprint.refuse_other(
        wanted,
        may_differ=("images", "samples") if is_longer else (),
        where=layout.root,
        remedy=_REMEDY,
    )
    require_complete(stored)
    found = first_images(count)
    if found != stored.fingerprint.images:
        raise FingerprintMismatchError(
            f"hash of the first {count:,} images",
            stored.fingerprint.images,
            found,
            where=layout.root,
            remedy=f"{_REMEDY}: new images must come last, and none of the others may have changed",
        )
    return appended(stored, wanted.images, wanted.samples)
