"""Walking through a run folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import h5py

from dtrak_stream.errors import (
    ConfigurationError,
    CorruptFileError,
    DtrakStreamError,
    InputError,
    UnavailableError,
)
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.given import name_of_given
from dtrak_stream.model.places import EMBEDDED_MODEL
from dtrak_stream.scoring.relative_residuals import RELATIVE
from dtrak_stream.scoring.scores_layout import damping_names
from dtrak_stream.store.layout import read_layout
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.support.checkpoints import Checkpoints
from dtrak_stream.support.durable import PARTIAL_SUFFIX
from dtrak_stream.support.obstacles import refuse_unavailable
from dtrak_stream.support.progress import say
from dtrak_stream.verification.grams import verify_gram
from dtrak_stream.verification.options import VerifyConfig, VerifyResult
from dtrak_stream.verification.relative import verify_relative
from dtrak_stream.verification.run_stores import FaultyStoreError, RunStores
from dtrak_stream.verification.scores import verify_scores
from dtrak_stream.verification.stores import verify_store

_PLAN = "store.json"
_PARTS = ".parts"


def verify(config: VerifyConfig, *, denoiser: Denoiser | None = None) -> VerifyResult:
    """Check every store, Gram matrix and scores file below a folder, to the last.

    Parameters
    ----------
    config
        The folder, and how much of it is computed again.
    denoiser
        The model that rows are computed again with, where it was given instead of named.

    Raises
    ------
    InputError
        If there is nothing to check.
    ConfigurationError
        If a model is given and nothing is computed again, or another one is named besides.
    DtrakStreamError
        If anything has a fault: that fault if there is one only, else how many there are. A line
        is said of each before.
    """
    if denoiser is not None:
        _refuse_idle(denoiser, config)
    if not config.run.is_dir():
        raise InputError("no such folder", where=config.run, remedy="give a run folder")
    found = _Found.below(config.run)
    if not found.count:
        raise InputError(
            "holds no store, Gram matrix or scores file",
            where=config.run,
            remedy="give the --run folder of dtrak-stream attribute",
        )
    verification = _Verification(config, denoiser)
    for root in found.stores:
        verification.of_store(root)
    for path, error in found.unreadable.items():
        verification.tell_fault(path, error)
    for path in found.grams:
        verification.of_file(path, verify_gram)
    for path in found.relative:
        verification.of_file(path, verify_relative)
    for path in found.scores:
        verification.of_file(path, partial(verify_scores, visible=not config.quiet))
    for path in found.unknown:
        verification.tell_aside(path, "no store, Gram matrix or scores file; not checked")
    for path in found.unfinished:
        verification.tell_aside(path, _unfinished(path))
    verification.refuse_faults()
    return VerifyResult(config.run, verification.whole, len(found.unfinished))


def _refuse_idle(denoiser: Denoiser, config: VerifyConfig) -> None:
    """Refuse a model that nothing is computed with, or that is given besides one that is named."""
    if not config.deep:
        raise ConfigurationError(
            "only computes rows again",
            where=f"denoiser={denoiser.class_name}",
            remedy="set deep as well, or leave it out",
        )
    name_of_given(denoiser, config.model or EMBEDDED_MODEL)


@dataclass
class _Verification:
    """What was found out so far, each part told in a line."""

    config: VerifyConfig
    denoiser: Denoiser | None = None
    stores: RunStores = field(default_factory=RunStores)
    whole: int = 0
    faults: dict[str, DtrakStreamError] = field(default_factory=dict)

    def of_store(self, root: Path) -> None:
        try:
            layout = read_layout(root)
            line = verify_store(layout, visible=not self.config.quiet)
        except DtrakStreamError as error:
            self.stores.add_faulty(root)
            self.tell_fault(root, error)
            return
        store = FeatureStore(layout)
        self.stores.add(store)
        try:
            line += self._recomputed(store)
        except DtrakStreamError as error:
            self.tell_fault(root, error)
            return
        self._tell_whole(root, line)

    def of_file(self, path: Path, check: Callable[[Path, RunStores], str]) -> None:
        """Check a file that was made of stores; one that was made of a faulty one is left out."""
        try:
            self._tell_whole(path, check(path, self.stores))
        except FaultyStoreError as error:
            self.tell_aside(path, f"{error.what}; not checked")
        except DtrakStreamError as error:
            self.tell_fault(path, error)

    def tell_aside(self, path: Path, line: str) -> None:
        say(f"--  {self._name(path)}: {line}")

    def tell_fault(self, path: Path, error: DtrakStreamError) -> None:
        self.faults[self._name(path)] = error
        say(f"BAD {error}")

    def refuse_faults(self) -> None:
        """Raise the one fault there is, or say how many there are."""
        if len(self.faults) == 1:
            raise next(iter(self.faults.values()))
        if self.faults:
            raise CorruptFileError(
                f"{len(self.faults)} of its parts have a fault: {', '.join(self.faults)}",
                where=self.config.run,
                remedy="each has a line above that says what to do about it",
            )

    def _recomputed(self, store: FeatureStore) -> str:
        if not self.config.deep:
            return ""
        if store.fingerprint.is_imported:
            return ", imported: its rows cannot be computed again"
        # what computes features takes seconds to load
        from dtrak_stream.verification.recomputed import recompute

        return f", {recompute(store, self.config, self.denoiser)}"

    def _tell_whole(self, path: Path, line: str) -> None:
        self.whole += 1
        say(f"ok  {self._name(path)}: {line}")

    def _name(self, path: Path) -> str:
        run = self.config.run
        return path.relative_to(run).as_posix() if path != run else path.name


@dataclass(frozen=True)
class _Found:
    stores: list[Path]
    grams: list[Path]
    relative: list[Path]
    scores: list[Path]
    unknown: list[Path]
    unfinished: list[Path]
    unreadable: dict[Path, DtrakStreamError]

    @property
    def count(self) -> int:
        return len([*self.stores, *self.grams, *self.relative, *self.scores, *self.unreadable])

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
        unreadable: dict[Path, DtrakStreamError] = {}
        kinds = {path: _kind(path, unreadable) for path in others}
        return cls(
            stores,
            [path for path in others if kinds[path] == "gram"],
            [path for path in others if kinds[path] == "relative"],
            [path for path in others if kinds[path] == "scores"],
            [path for path in others if kinds[path] == "unknown"],
            [path for path in files if path.suffix in (PARTIAL_SUFFIX, _PARTS)],
            unreadable,
        )


def _unfinished(path: Path) -> str:
    """Return what there is to say of what interrupted work left."""
    told = "left by interrupted work; the same command continues it"
    damaged = Checkpoints(path).damaged() if path.suffix == _PARTS and path.is_dir() else []
    if not damaged:
        return told
    return f"{told}, and computes again what is damaged: {', '.join(one.name for one in damaged)}"


def _inside_parts(path: Path) -> bool:
    return any(parent.suffix == _PARTS for parent in path.parents)


def _kind(path: Path, unreadable: dict[Path, DtrakStreamError]) -> str:
    """Return which kind of file an HDF5 file is meant to be, even if parts of it are lost."""
    try:
        with h5py.File(path, "r") as file:
            if "gram" in file:
                return "gram"
            if RELATIVE in file:
                return "relative"
            meant = any(name in file for name in ("top_index", "query_id", "train_id"))
            return "scores" if meant or damping_names(file) else "unknown"
    except (OSError, RuntimeError) as error:
        unreadable[path] = _unreadable(path, error)
        return "unreadable"


def _unreadable(path: Path, error: Exception) -> DtrakStreamError:
    try:
        refuse_unavailable(path, error)
    except UnavailableError as unavailable:
        return unavailable
    return CorruptFileError(
        "cannot be read as HDF5",
        where=path,
        remedy="move it away and run the command that wrote it again",
    )
