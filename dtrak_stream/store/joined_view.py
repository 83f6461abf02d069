"""`features.h5`: one virtual array over all shards of a store, for anyone with h5py.

Rows that were removed are no part of it: where they were it holds zeros, and no id.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import h5py

from dtrak_stream.store.layout import StoreLayout
from dtrak_stream.store.row_set import Rows
from dtrak_stream.store.shard import file_in_memory
from dtrak_stream.store.stored_shard import open_shard
from dtrak_stream.support.durable import write_bytes


def write_joined_view(layout: StoreLayout) -> None:
    """Write `features.h5`: one virtual array over all shards, for anyone with h5py."""
    shards = [_datasets(layout, shard) for shard in range(layout.num_shards)]
    image = io.BytesIO()
    with file_in_memory(image) as file:
        for name in shards[0]:
            file.create_virtual_dataset(name, _virtual(layout, name, [s[name] for s in shards]))
        file.attrs["fingerprint"] = layout.state
    write_bytes(layout.joined_view_path, image.getbuffer())


def _datasets(layout: StoreLayout, shard: int) -> dict[str, tuple[tuple[int, ...], Any]]:
    places = open_shard(layout.shard_path(shard), layout.shard_fingerprint(shard)).places
    return {name: (places[name].shape, places[name].dtype) for name in sorted(places)}


def _virtual(layout: StoreLayout, name: str, parts: list[tuple[tuple[int, ...], Any]]) -> Any:
    # ids are as wide as the longest in their shard; the joined array takes the widest
    widest = max((dtype for _, dtype in parts), key=lambda dtype: dtype.itemsize)
    shape = (layout.fingerprint.samples, *parts[0][0][1:])
    joined = h5py.VirtualLayout(shape=shape, dtype=widest)
    joined.dcpl.set_obj_track_times(False)  # the same store has the same bytes at any time
    for shard, (part_shape, dtype) in enumerate(parts):
        rows = layout.shard_rows(shard)
        relative = layout.shard_path(shard).relative_to(layout.root)
        source = h5py.VirtualSource(str(relative), name, shape=part_shape, dtype=dtype)
        removed = layout.removed.within(rows)
        if not len(removed):
            joined[rows.start : rows.stop] = source
            continue
        # one part of the view for all rows of a shard: one for each stretch takes a hundred times
        # as much memory and time, for whoever reads it too
        left = list(_stretches_between(rows, removed))
        there, here = _selected(shape, left, 0), _selected(part_shape, left, rows.start)
        joined.dcpl.set_virtual(there, str(relative).encode(), name.encode(), here)
    return joined


def _selected(shape: tuple[int, ...], stretches: Sequence[range], first: int) -> Any:
    """Return a data space of this shape with stretches of its rows selected, counted from one."""
    space, rest = h5py.h5s.create_simple(shape), shape[1:]
    space.select_none()
    for rows in stretches:
        start, block = (rows.start - first, *(0 for _ in rest)), (len(rows), *rest)
        space.select_hyperslab(start, (1,) * len(shape), block=block, op=h5py.h5s.SELECT_OR)
    return space


def _stretches_between(rows: range, removed: Rows) -> Iterator[range]:
    """Yield the consecutive rows before, between and behind those that were removed."""
    start = rows.start
    for row in map(int, removed):
        if row > start:
            yield range(start, row)
        start = row + 1
    if start < rows.stop:
        yield range(start, rows.stop)
