"""Some rows of a store computed again, from the model and the images it was made of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.data.images import open_images
from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import CheckLabels, ConditionKind, Samples, read_batch
from dtrak_stream.errors import CorruptFileError, InputError
from dtrak_stream.features.kinds import open_features
from dtrak_stream.features.maker import FeatureMaker
from dtrak_stream.featurizing.execution import Execution
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.shard import FloatArray
from dtrak_stream.support.configuration import parse
from dtrak_stream.support.progress import progress
from dtrak_stream.verification.options import VerifyConfig

# of a stored row: rounding of the type itself, and of computing in another order
_STORED_ROUNDING = {"float16": 2.0**-11, "float32": 2.0**-24, "int8": 0.0}
_HALF_A_STEP = 0.5 / 127  # of int8, of the largest entry
_COMPUTED_ROUNDING = {"float32": 2.0**-13, "tf32": 2.0**-8, "float16": 2.0**-8, "bfloat16": 2.0**-5}
_RECORD = "config.yaml"


@dataclass(frozen=True)
class RecomputedRow:
    """A row as it is stored and as it was computed again.

    Attributes
    ----------
    row, sample_id
        Which.
    stored, computed
        (k,) float32; None where there is no feature.
    residuals
        The residual as stored and as computed; None in stores without.
    """

    row: int
    sample_id: str
    stored: FloatArray | None
    computed: FloatArray | None
    residuals: tuple[float, float] | None = None

    def error(self) -> float:
        """Return the relative error, in Euclidean length; inf if one has no feature."""
        if self.stored is None or self.computed is None:
            return 0.0 if self.stored is self.computed else np.inf
        errors = [_relative(self.computed, self.stored)]
        if self.residuals is not None:
            stored, computed = (np.array([value]) for value in self.residuals)
            errors.append(_relative(computed, stored))
        return max(errors)

    def rounding_of_bytes(self) -> float:
        """Return the largest relative error that rounding to 127ths of the largest entry has."""
        row = self.computed
        if row is None or not row.any():
            return 0.0
        largest = float(np.abs(row).max()) / float(np.linalg.norm(row.astype(np.float64)))
        return math.sqrt(row.size) * _HALF_A_STEP * largest

    def difference(self) -> str:
        """Return what is wrong with the row, for the user."""
        if self.stored is None:
            return "is quarantined, and has a feature when it is computed again"
        if self.computed is None:
            return "has a feature, and none when it is computed again"
        return f"is off by a relative error of {self.error():.2g} from what it is computed again"


def recompute(store: FeatureStore, config: VerifyConfig, denoiser: Denoiser | None = None) -> str:
    """Compute some rows of a whole store again and compare; return a few words about it.

    The images are read and hashed, all of them: what the store depends on must be what it was.

    Parameters
    ----------
    store
        A whole store, not of imported features.
    config
        How many rows, and where model and images are now if not where the store's record says.
    denoiser
        The model, where it was given instead of named.

    Raises
    ------
    InputError, ModelError
        If model or images are not there.
    FingerprintMismatchError
        If model, images or options are not those of the store.
    CorruptFileError
        If a row is another than was stored, naming row, id and relative error.
    """
    job = _recorded(store, config)
    model = job.model if denoiser is None else denoiser
    maker, samples = _opened(store, job, model, visible=not config.quiet)
    try:
        _refuse_other_inputs(store, job, maker, samples)
        _execute_as_recorded(store, maker)
        rows = _sampled_rows(store, config.deep)
        largest = _compare(store, maker, samples, rows, config)
    finally:
        maker.close()
    return f"{len(rows)} rows computed again, relative error up to {largest:.1e}"


def sampled_rows(count: int, wanted: int, *, seed: str) -> list[int]:
    """Return so many of `count` rows, spread evenly and otherwise at random; both ends always.

    Parameters
    ----------
    count
        N.
    wanted
        Number of rows, if there are so many; 1 is taken for 2.
    seed
        Hexadecimal; equal seeds give equal rows.
    """
    inner = max(0, min(wanted, count) - 2)
    cuts = [1 + part * (count - 2) // inner for part in range(inner + 1)] if inner else []
    generator = np.random.default_rng(int(seed, 16))
    between = [int(generator.integers(a, b)) for a, b in pairwise(cuts)]
    return sorted({0, *between, count - 1})


def _sampled_rows(store: FeatureStore, wanted: int) -> list[int]:
    """Return some of the rows that were not removed."""
    left = np.setdiff1d(np.arange(len(store)), store.layout.removed.rows, assume_unique=True)
    places = sampled_rows(len(left), wanted, seed=store.fingerprint.hash())
    return [int(left[place]) for place in places]


def tolerance(store: FeatureStore, row: RecomputedRow) -> float:
    """Return the largest relative error of a row that rounding explains."""
    fingerprint = store.fingerprint
    computed = _COMPUTED_ROUNDING.get(fingerprint.precision, _COMPUTED_ROUNDING["float32"])
    of_bytes = row.rounding_of_bytes() if fingerprint.dtype == "int8" else 0.0
    return _STORED_ROUNDING[fingerprint.dtype] + of_bytes + computed


def _recorded(store: FeatureStore, config: VerifyConfig) -> FeaturizeConfig:
    """Return the job that made the store, with what the user says of where things are now."""
    record = store.layout.root / _RECORD
    if not record.is_file():
        raise InputError(
            "is missing: what its rows were computed of is not known",
            where=record,
            remedy="put it back, or leave --deep out",
        )
    job = parse(FeaturizeConfig, ["--config", str(record)])
    folder = _folder_of_set(store.layout.root)
    images = {"train": config.train, "held-out": None}.get(_side_of(folder), config.query)
    return replace(
        job,
        images=images or job.images,
        model=config.model or job.model,
        trajectory=config.trajectory or job.trajectory,
    )


def _side_of(folder: Path) -> str:
    """Return what a store is called, or the folder that holds those of several streams."""
    names = (folder.name, folder.parent.name)
    return next((name for name in names if name in ("train", "query", "held-out")), folder.name)


def _folder_of_set(root: Path) -> Path:
    return root.parent if _number_in_set(root) is not None else root


def _number_in_set(root: Path) -> int | None:
    """Return which probe's store it is; None for a store that stands alone."""
    name, _, number = root.name.partition("-")
    return int(number) if name == "probe" and number.isdecimal() else None


def _opened(
    store: FeatureStore, job: FeaturizeConfig, model: str | Denoiser, *, visible: bool
) -> tuple[FeatureMaker, Samples]:
    like = ImageShape.of_text(store.fingerprint.image_shape)

    def images_in(
        shape: ImageShape | None, kind: ConditionKind, check: CheckLabels | None
    ) -> Samples:
        return open_images(
            job.images,
            shape or like,
            job.image_options,
            limit=job.limit,
            conditioned_on=kind,
            conditions=job.condition_options,
            check_labels=check,
            visible=visible,
        )

    return open_features(
        model,
        job.features,
        job.trajectory,
        images_in,
        visible=visible,
        bandwidth=store.fingerprint.bandwidth,
    )


def _refuse_other_inputs(
    store: FeatureStore, job: FeaturizeConfig, maker: FeatureMaker, samples: Samples
) -> None:
    stored = store.fingerprint
    found = maker.fingerprints(samples, stored.dtype, stored.rows_per_shard)
    stored.refuse_other(
        found[_number_in_set(store.layout.root) or 0],
        where=store.layout.root,
        remedy=f"give the model and the images it was made of ({job.model}, {job.images}) with "
        "--model, --train and --query, or verify without --deep",
    )


def _execute_as_recorded(store: FeatureStore, maker: FeatureMaker) -> None:
    """Compute as the store was, if that suits this machine: rounding depends on it."""
    record: dict[str, Any] | None = store.layout.run_record().get("execution")
    if record is not None:
        execution = Execution.recorded(record)
        if execution.suits(maker):
            execution.apply(maker)


def _compare(
    store: FeatureStore,
    maker: FeatureMaker,
    samples: Samples,
    rows: list[int],
    config: VerifyConfig,
) -> float:
    """Return the largest relative error; raise at rows that are others."""
    found = list(_recomputed(store, maker, samples, rows, visible=not config.quiet))
    bad = [row for row in found if not row.error() <= tolerance(store, row)]
    if bad:
        explained = tolerance(store, bad[0])
        raise CorruptFileError(
            "; ".join(f"row {each.row} ({each.sample_id}) {each.difference()}" for each in bad),
            where=store.layout.root,
            remedy=f"rounding explains {explained:.1e}: other code, another machine or a "
            "fault of it computed these rows; featurize into another folder and compare",
        )
    return max(row.error() for row in found)


def _recomputed(
    store: FeatureStore,
    maker: FeatureMaker,
    samples: Samples,
    rows: list[int],
    *,
    visible: bool,
) -> Iterator[RecomputedRow]:
    usable = store.usable()
    residuals = store.residuals() if store.fingerprint.has_residuals else None
    name = store.layout.root.name
    with progress(len(rows), description=f"recomputing {name}", unit="row", visible=visible) as bar:
        for row in rows:
            again = _computed(store, maker, samples, row)
            yield RecomputedRow(
                row,
                samples.sample_id(row),
                store.rows(range(row, row + 1))[0] if usable[row] else None,
                None if again is None else again[0],
                None if residuals is None or again is None else (float(residuals[row]), again[1]),
            )
            bar.update()


def _computed(
    store: FeatureStore, maker: FeatureMaker, samples: Samples, row: int
) -> tuple[FloatArray, float] | None:
    """Return feature (k,) and residual of one sample (0 without residuals); None if it is bad."""
    batch, _ = read_batch(samples, range(row, row + 1))
    if not len(batch):
        return None
    features = maker.features(batch).numpy()[0]  # (1, width) -> (width,)
    root = store.layout.root
    number = _number_in_set(root)
    parts = 1 if number is None else maker.width // store.proj_dim
    own: FloatArray = np.split(features, parts)[number or 0]  # (k,)
    residuals = maker.residuals(batch)
    residual = 0.0 if residuals is None else float(residuals[0])
    return (own, residual) if np.isfinite(own).all() and np.isfinite(residual) else None


def _relative(computed: NDArray[Any], stored: NDArray[Any]) -> float:
    difference = np.linalg.norm(computed.astype(np.float64) - stored)
    length = np.linalg.norm(stored.astype(np.float64))
    return float(difference / length) if length else float(difference)
