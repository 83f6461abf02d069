"""The folders of retrained models: which losses are there, and which are missing."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dtrak_stream.data.source import unreadable
from dtrak_stream.errors import InputError, first_few
from dtrak_stream.evaluation.imported_truth.configuration import ImportTruthConfig

_MODEL = re.compile(r"(.+)-sub-(\d{1,9})-(\d{1,9})")
_LOSSES = re.compile(r"e-(\d{1,9})-(.+)\.pkl")


class LossFile(NamedTuple):
    """Where the losses of one model lie, of one set of queries under one noise."""

    subset: int
    """Number of the subset that the model was trained on."""
    model_seed: int
    """Its training seed."""
    noise_seed: int
    """Seed of the noise."""
    query: str
    """Name of the set of queries."""


@dataclass(frozen=True)
class ModelFolders:
    """What lies in a folder of retrained models.

    Attributes
    ----------
    path
        The folder.
    name
        What all models in it are called, such as `sd-lora`.
    files
        The losses that are there, of the sets of queries that are asked for.
    """

    path: Path
    name: str
    files: frozenset[LossFile]

    def file(self, losses: LossFile) -> Path:
        """Return where these losses lie, or would."""
        model = f"{self.name}-sub-{losses.subset}-{losses.model_seed}"
        return self.path / model / f"e-{losses.noise_seed}-{losses.query}.pkl"


@dataclass(frozen=True)
class WantedLosses:
    """The losses that a truth is made of: of every subset, seed, noise and set of queries.

    Attributes
    ----------
    folders
        Where they lie.
    subsets, model_seeds, noise_seeds
        Whose losses, in order.
    left_out
        Subsets that are not among them, because a file is missing.
    """

    folders: ModelFolders
    subsets: tuple[int, ...]
    model_seeds: tuple[int, ...]
    noise_seeds: tuple[int, ...]
    left_out: tuple[int, ...]

    def files(self, model_seed: int, subset: int, query: str) -> list[Path]:
        """Return the files of one model, one for each noise."""
        return [
            self.folders.file(LossFile(subset, model_seed, noise, query))
            for noise in self.noise_seeds
        ]


def find_losses(folder: Path, queries: Collection[str]) -> ModelFolders:
    """Look which losses of these sets of queries lie in a folder.

    Raises
    ------
    InputError
        If there are none, or models of several names.
    """
    names, files = set[str](), set[LossFile]()
    for entry in _entries(folder):
        model = _MODEL.fullmatch(entry)
        if model is None or not (folder / entry).is_dir():
            continue
        for inside in _entries(folder / entry):
            losses = _LOSSES.fullmatch(inside)
            if losses is not None and losses[2] in queries:
                names.add(model[1])
                files.add(LossFile(int(model[2]), int(model[3]), int(losses[1]), losses[2]))
    if not files:
        raise InputError(
            f"holds no losses of {' or '.join(queries)}",
            where=folder,
            remedy="give the folder of NAME-sub-SUBSET-SEED/e-NOISE-QUERY.pkl",
        )
    if len(names) > 1:
        raise InputError(
            f"holds models of several names ({', '.join(sorted(names))})",
            where=folder,
            remedy="give a folder of one kind of model",
        )
    return ModelFolders(folder, names.pop(), frozenset(files))


def _entries(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except NotADirectoryError as error:
        raise InputError("is no folder", where=folder, remedy="give a folder") from error
    except OSError as error:
        raise unreadable(folder, error) from error


def choose_losses(
    folders: ModelFolders, queries: Sequence[str], config: ImportTruthConfig
) -> WantedLosses:
    """Return the losses that the options ask for, all of which are there.

    Raises
    ------
    InputError
        Saying how many are missing and which, unless they are to be left out; or if nothing is
        left then.
    """
    there = folders.files
    subsets = tuple(config.subset_range(1 + max(file.subset for file in there)))
    chosen = [file for file in there if file.subset in set(subsets)]
    model_seeds = config.model_seeds or tuple(sorted({file.model_seed for file in chosen}))
    noise_seeds = config.noise_seeds or tuple(sorted({file.noise_seed for file in chosen}))
    wanted = itertools.product(subsets, model_seeds, noise_seeds, queries)
    missing = [file for file in itertools.starmap(LossFile, wanted) if file not in there]
    incomplete = {file.subset for file in missing}
    left = tuple(subset for subset in subsets if subset not in incomplete)
    if missing and (config.missing == "refuse" or not left):
        raise _missing(folders, missing, len(subsets) - len(left), len(subsets))
    if not model_seeds or not noise_seeds:
        raise InputError(
            f"holds no losses of subsets {subsets[0]} to {subsets[-1]}",
            where=folders.path,
            remedy="give other --subsets",
        )
    return WantedLosses(folders, left, model_seeds, noise_seeds, tuple(sorted(incomplete)))


def _missing(
    folders: ModelFolders, missing: Sequence[LossFile], subsets: int, of: int
) -> InputError:
    paths = [folders.file(file).relative_to(folders.path) for file in missing]
    return InputError(
        f"{len(missing):,} files of losses are missing, of {subsets:,} of {of:,} subsets "
        f"({first_few(paths)})",
        where=folders.path,
        remedy="measure them, name fewer by --subsets, --model-seeds, --noise-seeds or --query, or "
        "import the subsets that have all of them with --missing leave-out",
    )
