"""Opening a source, of whichever kind it is."""

from __future__ import annotations

from dtrak_stream.data.array_files import open_hdf5, open_npy, open_npz
from dtrak_stream.data.arrays import open_digits
from dtrak_stream.data.folder import FolderSource
from dtrak_stream.data.options import ImageOptions, RangeName
from dtrak_stream.data.places import Place, locate
from dtrak_stream.data.source import Source


def open_source(body: str, options: ImageOptions, *, visible: bool) -> Source:
    """Open the source that `body` (without a slice) names.

    Raises
    ------
    InputError
        If it is missing, unreadable, ambiguous or of no known kind, or has no such split.
    """
    place = locate(body).of(options.split)
    if place.kind == "digits":
        return open_digits()
    if place.kind == "folder":
        return FolderSource(place.path, place.parts, options)
    if place.kind == "array":
        return _open_array_file(place, options.float_range)
    return _open_data_set(place, options, visible=visible)


def _open_array_file(place: Place, float_range: RangeName) -> Source:
    suffix = place.path.suffix.lower()
    if suffix == ".npy":
        return open_npy(place.path, float_range)
    if suffix == ".npz":
        return open_npz(place.path, place.key, float_range)
    return open_hdf5(place.path, place.key, float_range)


def _open_data_set(place: Place, options: ImageOptions, *, visible: bool) -> Source:
    # Importing datasets takes a second, which only its users should wait for.
    from dtrak_stream.data.hugging_face import open_hub, open_saved, open_shards

    if place.kind == "hub":
        return open_hub(place.body.removeprefix("hf:"), options, visible=visible)
    if place.kind == "saved":
        return open_saved(place.path, options, visible=visible)
    files = list(place.paths)
    return open_shards(place.kind, files, options, where=place.body, visible=visible)
