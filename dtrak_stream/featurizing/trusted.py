"""What is there of a store and need not be read again: it was found whole and did not change since.

What was found is kept with the store (see `checked`), with what its files looked like then.
"""

from __future__ import annotations

from dtrak_stream.features.kinds import number_of_stores
from dtrak_stream.featurizing.checked import Inputs, read_checked, stamp_shards
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.store.layout import StoreLayout, read_layout
from dtrak_stream.store.store_set import StoreSet, store_folders


def finished_stores(config: FeaturizeConfig, inputs: Inputs | None) -> StoreSet | None:
    """Return the stores if they are finished and nothing changed since they were checked.

    Parameters
    ----------
    config
        The job.
    inputs
        What its stores are made from; None where a change of it would not show.
    """
    if inputs is None:
        return None
    folders = store_folders(config.store, number_of_stores(config.features))
    if not all((folder / "store.json").is_file() for folder in folders):
        return None
    layouts = tuple(map(read_layout, folders))
    if all(_is_whole(layout, inputs) for layout in layouts):
        return StoreSet(config.store, layouts)
    return None


def is_trusted(layout: StoreLayout, config: FeaturizeConfig, inputs: Inputs | None) -> bool:
    """Return whether the shards that are there need not be read: all, or those appended to."""
    if _is_verified(layout, inputs):
        return True
    checked = read_checked(layout.root) if config.append else None
    return checked is not None and checked.shards == stamp_shards(layout)


def _is_whole(layout: StoreLayout, inputs: Inputs) -> bool:
    return not layout.missing_shards() and _is_verified(layout, inputs)


def _is_verified(layout: StoreLayout, inputs: Inputs | None) -> bool:
    """Return whether the shards that are there were found whole and did not change since."""
    checked = read_checked(layout.root)
    if inputs is None or checked is None or not checked.is_of(inputs, layout):
        return False
    return checked.shards == stamp_shards(layout)
