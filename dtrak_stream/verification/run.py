"""Walking through a run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py

from dtrak_stream.errors import CorruptFileError, InputError
from dtrak_stream.scoring.scores_file import damping_names
from dtrak_stream.store.layout import read_layout
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.support.durable import PARTIAL_SUFFIX
from dtrak_stream.support.progress import say
from dtrak_stream.verification.grams import verify_gram
from dtrak_stream.verification.options import VerifyConfig, VerifyResult
from dtrak_stream.verification.run_stores import RunStores
from dtrak_stream.verification.scores import verify_scores
from dtrak_stream.verification.stores import verify_store

_PLAN = "store.json"
_PARTS = ".parts"


def verify(config: VerifyConfig) -> VerifyResult:
    """Check every store, Gram matrix and scores file below a folder.

    Raises
    ------
    InputError
        If there is nothing to check, or something is missing.
    CorruptFileError, FingerprintMismatchError
        At the first fault.
    """
    if not config.run.is_dir():
        raise InputError("no such folder", where=config.run, remedy="give a run folder")
    found = _Found.below(config.run)
    if not found.count:
        raise InputError(
            "holds no store, Gram matrix or scores file",
            where=config.run,
            remedy="give the --run folder of dtrak-stream attribute",
        )
    visible = not config.quiet
    stores = RunStores()
    for root in found.stores:
        layout = read_layout(root)
        say(f"ok  {_name(root, config)}: {verify_store(layout, visible=visible)}")
        stores.add(FeatureStore.open(root))
    for path in found.grams:
        say(f"ok  {_name(path, config)}: {verify_gram(path, stores)}")
    for path in found.scores:
        say(f"ok  {_name(path, config)}: {verify_scores(path, stores, visible=visible)}")
    for path in found.unknown:
        say(f"--  {_name(path, config)}: no store, Gram matrix or scores file; not checked")
    for path in found.unfinished:
        say(f"--  {_name(path, config)}: left by interrupted work; the same command continues it")
    return VerifyResult(config.run, found.count, len(found.unfinished))


def _name(path: Path, config: VerifyConfig) -> str:
    return path.relative_to(config.run).as_posix() if path != config.run else path.name


@dataclass(frozen=True)
class _Found:
    stores: list[Path]
    grams: list[Path]
    scores: list[Path]
    unknown: list[Path]
    unfinished: list[Path]

    @property
    def count(self) -> int:
        return len(self.stores) + len(self.grams) + len(self.scores)

    @classmethod
    def below(cls, folder: Path) -> _Found:
        """Sort the files below a folder by what they hold."""
        files = sorted(path for path in folder.rglob("*") if not _inside_parts(path))
        stores = [path.parent for path in files if path.name == _PLAN]
        others = [
            path
            for path in files
            if path.suffix in (".h5", ".hdf5")
            and not any(store in path.parents for store in stores)
        ]
        kinds = {path: _kind(path) for path in others}
        return cls(
            stores,
            [path for path in others if kinds[path] == "gram"],
            [path for path in others if kinds[path] == "scores"],
            [path for path in others if kinds[path] == "unknown"],
            [path for path in files if path.suffix in (PARTIAL_SUFFIX, _PARTS)],
        )


def _inside_parts(path: Path) -> bool:
    return any(parent.suffix == _PARTS for parent in path.parents)


def _kind(path: Path) -> str:
    """Return which kind of file an HDF5 file is meant to be, even if parts of it are lost."""
    try:
        with h5py.File(path, "r") as file:
            if "gram" in file:
                return "gram"
            meant = any(name in file for name in ("top_index", "query_id", "train_id"))
            return "scores" if meant or damping_names(file) else "unknown"
    except (OSError, RuntimeError) as error:
        raise CorruptFileError(
            "cannot be read as HDF5",
            where=path,
            remedy="remove it and run the command that wrote it again",
        ) from error
