"""A folder in which several runs make models at once: the last one removes what none needs."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dtrak_stream.support.claims import CLAIM_SUFFIX, Claims

_RUN = "run-"


@contextmanager
def shared_folder(folder: Path, *, keep_models: bool) -> Iterator[None]:
    """Make models in a folder inside; remove what only unfinished ones need in the end.

    A claim stands as long as the run does: between two models it holds no other, and needs the
    files of those to come all the same. After work that ends well subsets, claims and models are
    removed, unless another run goes on, which then does it.

    Parameters
    ----------
    folder
        The folder, which is there.
    keep_models
        Whether the models stay.

    Raises
    ------
    DiskFullError
        If there is no room for the claim.
    """
    held = folder / "claims"
    run = held / f"{_RUN}{uuid.uuid4().hex}"
    unwanted = ["subsets", held.name] + ([] if keep_models else ["models"])
    with Claims() as claims:
        with claims.alone_with(held):  # nobody removes while another begins
            claims.take(run)
        yield
        with claims.alone_with(held):
            claims.release(run)
            if not _running(held, claims):
                _remove(folder, unwanted)


def _running(held: Path, claims: Claims) -> bool:
    """Return whether a run goes on, as far as can be told."""
    standing = held.glob(f"{_RUN}*{CLAIM_SUFFIX}")
    return any(not claims.is_free(claim.with_suffix("")) for claim in standing)


def _remove(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        shutil.rmtree(folder / name, ignore_errors=True)
