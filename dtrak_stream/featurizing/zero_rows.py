"""Features that are zero throughout: a store tells of each shard how many it has.

A model may have no gradient at all, or one that half precision makes zero. Such a sample scores
zero for every query, which looks like a finding and is none.
"""

from __future__ import annotations

from collections.abc import Mapping

from dtrak_stream.store.store_set import StoreSet
from dtrak_stream.store.writer import StoreWriter
from dtrak_stream.support.progress import say

_NAME = "zero_rows"


def record_zero_rows(writer: StoreWriter, found: Mapping[int, int]) -> None:
    """Note in store.json how many rows of each shard are zero.

    Parameters
    ----------
    writer
        What wrote the shards.
    found
        Number of a shard to how many rows of it are zero, in all stores if there are several.
    """
    with writer.run_record() as record:
        before = record.get(_NAME, {})
        known = before | {str(shard): rows for shard, rows in found.items()}
        zero = {shard: rows for shard, rows in known.items() if rows}
        if zero != before:
            record[_NAME] = zero


def say_zero_rows(stores: StoreSet) -> None:
    """Tell how many features are zero throughout, if any."""
    zero = sum(stores.run_record().get(_NAME, {}).values())
    fingerprint = stores.layouts[0].fingerprint
    if zero:
        why = " (float16 may have made them so)" if fingerprint.precision == "float16" else ""
        say(
            f"{zero:,} of {fingerprint.samples:,} rows are zero throughout{why}: "
            "their scores are zero"
        )
