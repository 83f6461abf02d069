"""Data sets of the Hugging Face `datasets` library: saved, parquet, webdataset, or on the hub."""

from __future__ import annotations

import glob
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import datasets

from dtrak_stream.data.dataset_source import DatasetSource
from dtrak_stream.data.fetched_tables import table_of
from dtrak_stream.data.places import Place, SourceRequest
from dtrak_stream.data.source import unreadable
from dtrak_stream.data.splits import chosen_split
from dtrak_stream.data.tar_files import samples, survey
from dtrak_stream.data.unpacking import (
    folder_for,
    require_writable,
    saying_nothing_itself,
    why_not_from_hub,
    why_not_loaded,
)

Found = TypeVar("Found")


def open_saved(request: SourceRequest) -> DatasetSource:
    """Open a folder written by `save_to_disk`; its arrow files are memory-mapped."""
    folder, options = request.place.path, request.options
    found = _loaded(lambda: datasets.load_from_disk(str(folder)), folder, request.visible)
    rows = _rows_of_split(found, options.split, folder)
    return DatasetSource(rows, options, where=str(folder))


def open_parquet(request: SourceRequest) -> DatasetSource:
    """Open parquet files, in the order given.

    `datasets` writes them once as arrow into its own cache (`HF_DATASETS_CACHE`), which is
    memory-mapped from then on, for as long as no file changes.
    """
    place = request.place
    rows = parquet_rows(place, visible=request.visible)
    return DatasetSource(rows, request.options, where=place.body)


def parquet_rows(place: Place, *, visible: bool) -> datasets.Dataset:
    """Open parquet files as `open_parquet` does, whatever their columns are."""
    cache = _cache_for(place)
    # The library takes names for patterns; unescaped, part[1].parquet would open part1.parquet.
    names = {"train": [glob.escape(str(file)) for file in place.paths]}

    def load() -> datasets.Dataset:
        return datasets.load_dataset("parquet", data_files=names, split="train", cache_dir=cache)

    return _loaded(load, place.body, visible)


def open_tars(request: SourceRequest) -> DatasetSource:
    """Open webdataset (tar) files, in the order given; written once as arrow like parquet."""
    place, cache = request.place, _cache_for(request.place)
    columns = survey(list(place.paths))
    features = columns.features()
    paths = tuple(map(str, place.paths))
    given = {"paths": paths, "columns": tuple(features), "joined": columns.joined}

    def load() -> datasets.Dataset:
        found: datasets.Dataset = datasets.Dataset.from_generator(
            samples, features=features, cache_dir=cache, gen_kwargs=given
        )
        return found

    rows = _loaded(load, place.body, request.visible)
    found = {str(path.with_suffix("")): table_of(path) for path in place.paths}
    return DatasetSource(
        rows,
        request.options,
        where=place.body,
        passed_over=columns.passed_over.lines(),
        tables={stem: path for stem, path in found.items() if path is not None},
    )


def open_hub(request: SourceRequest) -> DatasetSource:
    """Open a data set of the hub, downloading it into the cache of `datasets` if need be."""
    where, options = request.place.body, request.options
    require_writable(Path(datasets.config.HF_DATASETS_CACHE))
    try:
        with saying_nothing_itself(bars=request.visible):
            found = datasets.load_dataset(where.removeprefix("hf:"), split=options.split)
    except Exception as error:
        raise why_not_from_hub(error, where) from error
    rows = found if options.split is not None else _rows_of_split(found, None, where)
    return DatasetSource(rows, options, where=where)


def _cache_for(place: Place) -> str:
    """Return where the files of a place are written as arrow."""
    try:
        return str(folder_for(list(place.paths)))
    except OSError as error:
        raise unreadable(place.body, error) from error


def _rows_of_split(
    found: datasets.Dataset | datasets.DatasetDict, split: str | None, where: object
) -> datasets.Dataset:
    if isinstance(found, datasets.DatasetDict):
        chosen = chosen_split(list(found), split, where)
        parts = [found[chosen]] if chosen is not None else list(found.values())
        return parts[0] if len(parts) == 1 else datasets.concatenate_datasets(parts)
    known = [] if found.split is None else [str(found.split)]
    if split not in known:
        chosen_split(known, split, where)
    return found


def _loaded(load: Callable[[], Found], where: object, visible: bool) -> Found:
    try:
        with saying_nothing_itself(bars=visible):
            return load()
    except Exception as error:  # the library, and pyarrow below it, have no common base error
        raise why_not_loaded(error, where) from error
