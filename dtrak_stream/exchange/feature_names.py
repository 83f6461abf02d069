"""What the names of D-TRAK's feature files say, and the order that several of them stand in.

features-E/ddpm-train-keys-S-K-Z-F-T.npy holds the features of rows 1000 S and following of the
index of training images: K timesteps chosen by T, of function F, Z columns, noise of seed E.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dtrak_stream.errors import ConfigurationError, InputError, first_few

_NAME = re.compile(r"(.+)-keys-(\d{1,9})-(\d{1,9})-(\d{1,9})-(.+)-(uniform|cumulative)\.npy")
_FUNCTIONS = {
    "loss": "simple",
    "weighted-mse": "elbo",
    "mean-squared-l2-norm": "square",
    "mean": "avg",
    "l1-norm": "l1",
    "l2-norm": "l2",
    "linf-norm": "linf",
}
_ALONG_A_PATH = "sampling"  # those are of the timesteps of the sampler, whatever the name says
_NAMED_AT_MOST = 4


@dataclass(frozen=True)
class FeatureName:
    """What the name of one file says.

    Attributes
    ----------
    subject
        Folder, model and images, in the words of the name.
    split
        Which part of the index its rows are of.
    timesteps
        K, how many timesteps were asked for.
    columns
        Z, the length of a row.
    function
        F, D-TRAK's name of the output function.
    strategy
        T, how the timesteps were chosen: `uniform` or `cumulative`.
    """

    subject: str
    split: int
    timesteps: int
    columns: int
    function: str
    strategy: str

    @property
    def output_function(self) -> str | None:
        """Return this package's name of the function; None for one that it does not know."""
        return _FUNCTIONS.get(self.function)

    def steps(self, num_timesteps: int) -> tuple[int, ...] | None:
        """Return the timesteps that D-TRAK takes; None where the name does not tell."""
        if _ALONG_A_PATH in self.subject or not 1 <= self.timesteps <= num_timesteps:
            return None
        if self.strategy == "cumulative":
            return tuple(range(self.timesteps))
        return tuple(range(0, num_timesteps, num_timesteps // self.timesteps))


def feature_name(path: Path) -> FeatureName | None:
    """Return what the name of a file says; None if it is no name that D-TRAK gives."""
    found = _NAME.fullmatch(path.name)
    if found is None:
        return None
    subject, split, timesteps, columns, function, strategy = found.groups()
    if not int(columns) or not int(timesteps):
        return None
    place = f"{path.parent.name}/{subject}"
    return FeatureName(place, int(split), int(timesteps), int(columns), function, strategy)


def in_order(paths: Sequence[Path]) -> tuple[tuple[Path, FeatureName | None], ...]:
    """Return the files in the order of their rows, with what their names say.

    Files that D-TRAK named stand in the order of their parts, however they are given: a shell puts
    part 10 before part 2. Others stand as they are given.

    Raises
    ------
    ConfigurationError
        If no file is given, one is given twice, or some are D-TRAK's and others are not.
    InputError
        If the files are of different features, or a part is missing or there twice.
    """
    names = [feature_name(path) for path in paths]
    if len({path.absolute() for path in paths}) < max(1, len(paths)):
        raise ConfigurationError(
            "names no file, or one twice", where="--array", remedy="give each file once"
        )
    known = [name for name in names if name is not None]
    if not known or len(paths) == 1:
        return tuple(zip(paths, names, strict=True))
    if len(known) < len(names):
        other = paths[names.index(None)]
        raise ConfigurationError(
            f"{other.name} is not named as the others are: which rows it has is not known",
            where=other,
            remedy="give files of ...-keys-SPLIT-K-Z-F-uniform.npy, or none of them",
        )
    _refuse_other_features(paths, known)
    _refuse_other_parts(paths[0], [name.split for name in known])
    pairs = zip(paths, known, strict=True)
    return tuple(sorted(pairs, key=lambda pair: pair[1].split))


def _refuse_other_features(paths: Sequence[Path], names: Sequence[FeatureName]) -> None:
    first = names[0]
    for path, name in zip(paths, names, strict=True):
        for what in ("subject", "timesteps", "columns", "function", "strategy"):
            ours, theirs = getattr(name, what), getattr(first, what)
            if ours != theirs:
                raise InputError(
                    f"is of other features than {paths[0].name}: {what} {ours} and {theirs}",
                    where=path,
                    remedy="give the parts of one set of features in a call",
                )


def _refuse_other_parts(first: Path, splits: Sequence[int]) -> None:
    wanted = set(range(max(splits) + 1))
    twice = sorted(split for split in set(splits) if splits.count(split) > 1)
    missing = sorted(wanted - set(splits))
    for parts, what in ((twice, "given twice"), (missing, "missing")):
        if parts:
            listed = first_few(parts, shown=_NAMED_AT_MOST)
            raise InputError(
                f"of the parts 0 to {max(splits)}, {len(parts)} are {what} ({listed})",
                where=first,
                remedy="give every part once: rows are numbered through all of them",
            )
