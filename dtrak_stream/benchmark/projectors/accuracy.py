"""Errors of projected inner products over many seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dtrak_stream.benchmark.projectors.options import ProjectorKind, ProjectorsConfig
from dtrak_stream.benchmark.projectors.vectors import UnitVectors
from dtrak_stream.projectors.table import make_projector
from dtrak_stream.support.progress import progress, say

_COLUMNS_AT_A_TIME = 65_536


@dataclass(frozen=True)
class Accuracy:
    """Error (<Px, Py> - <x, y>) / (|x| |y|) of one projector on one kind of vectors.

    Attributes
    ----------
    projector, proj_dim, vectors
        What was projected, by what, to which length.
    seeds, pairs
        Number of independent maps, and of pairs for each.
    rms, rms_standard_error
        Root mean square of the error, and how well it is known. Of the sketch on heavy-tailed
        vectors it is known a little less well than that: the rare seeds on which the largest
        entries meet count most.
    dense_theory
        RMS for a dense matrix: of normals for `normal`, of signs for the others.
    theory, rms_over_theory
        RMS for this projector (less than dense for the sketch), and how near it was met.
    mean, mean_standard_error
        Mean of the error, which is 0 in theory.
    """

    projector: str
    proj_dim: int
    vectors: str
    seeds: int
    pairs: int
    rms: float
    rms_standard_error: float
    dense_theory: float
    theory: float
    rms_over_theory: float
    mean: float
    mean_standard_error: float


def measure_accuracy(config: ProjectorsConfig, vectors: Sequence[UnitVectors]) -> list[Accuracy]:
    """Return the accuracy of every projector and k on every kind of vectors."""
    total = sum(config.seeds(projector) for projector, _ in config.cases())
    found: list[Accuracy] = []
    with progress(total, description="errors", unit="seed", visible=not config.quiet) as bar:
        for projector, proj_dim in config.cases():
            seeds = range(config.seeds(projector))
            found += _accuracy(projector, proj_dim, vectors, seeds, bar.update)
    return found


def _accuracy(
    projector: ProjectorKind,
    proj_dim: int,
    vectors: Sequence[UnitVectors],
    seeds: range,
    advance: Callable[[], object],
) -> list[Accuracy]:
    together = torch.cat([each.values for each in vectors])  # one map serves all kinds
    errors = [_PairErrors(each) for each in vectors]
    for seed in seeds:
        features = _projected(projector, proj_dim, seed, together)
        for kind, part in zip(errors, features.chunk(len(vectors)), strict=True):
            kind.add(part)
        advance()
    found = [kind.accuracy(projector, proj_dim) for kind in errors]
    for each in found:
        say(
            f"{projector}, k = {proj_dim:,}, {each.vectors}: RMS error {each.rms:.5f} "
            f"± {each.rms_standard_error:.5f}, theory {each.theory:.5f}"
        )
    return found


def _projected(projector: ProjectorKind, proj_dim: int, seed: int, vectors: Tensor) -> Tensor:
    """Return features (rows, k) of vectors (rows, p) under the map of one seed."""
    length = vectors.shape[1]
    made = make_projector(projector, proj_dim=proj_dim, seed=seed, num_parameters=length)
    features = torch.zeros(len(vectors), proj_dim, device=vectors.device)
    made.add(vectors.clone(), 0, features)
    return features


@dataclass
class _PairErrors:
    """Errors of all pairs of one kind of vectors, seed by seed.

    Pairs share vectors and all pairs share the map: only seeds are independent, so standard
    errors come from the spread over seeds.
    """

    vectors: UnitVectors
    means: list[float] = field(default_factory=list)
    mean_squares: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._exact = pair_products(self.vectors.values)  # (pairs,)

    def add(self, features: Tensor) -> None:
        """Take in the features (rows, k) of one seed."""
        errors = pair_products(features) - self._exact
        self.means.append(float(errors.mean()))
        self.mean_squares.append(float(errors.square().mean()))

    def accuracy(self, projector: ProjectorKind, proj_dim: int) -> Accuracy:
        """Return what was found next to what theory says."""
        mean, mean_error = _mean_and_error(self.means)
        square, square_error = _mean_and_error(self.mean_squares)
        rms = math.sqrt(square)
        dense: ProjectorKind = "normal" if projector == "normal" else "rademacher"
        theory = self._theory(projector, proj_dim)
        return Accuracy(
            projector=projector,
            proj_dim=proj_dim,
            vectors=self.vectors.kind,
            seeds=len(self.means),
            pairs=len(self._exact),
            rms=rms,
            rms_standard_error=square_error / (2 * rms),
            dense_theory=self._theory(dense, proj_dim),
            theory=theory,
            rms_over_theory=rms / theory,
            mean=mean,
            mean_standard_error=mean_error,
        )

    def _theory(self, projector: ProjectorKind, proj_dim: int) -> float:
        variances = error_variance(projector, self.vectors.values, proj_dim)
        return math.sqrt(float(variances.mean()))


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of independent values and its standard error."""
    found = torch.tensor(values, dtype=torch.float64)
    return float(found.mean()), float(found.std()) / math.sqrt(len(values))


def pair_products(vectors: Tensor) -> Tensor:
    """Return <x, y> of all pairs of different rows of (rows, length): (pairs,) float64, CPU."""
    return _pairs(_products(vectors))


def error_variance(projector: ProjectorKind, vectors: Tensor, proj_dim: int) -> Tensor:
    """Return the variance of the error of each pair of unit vectors (rows, p): (pairs,) float64."""
    products = _products(vectors)
    absent = {
        "normal": lambda: torch.zeros_like(products),
        "rademacher": lambda: 2 * _sum_of_squared_products(vectors),
        "sketch": lambda: _within_runs(vectors, proj_dim),
    }[projector]()
    return _pairs((1 + products.square() - absent) / proj_dim)


def _products(vectors: Tensor) -> Tensor:
    """Return x_a . x_b of all rows, summed in float64: (rows, rows)."""
    total = torch.zeros(len(vectors), len(vectors), dtype=torch.float64)
    for columns in _pieces(vectors, _COLUMNS_AT_A_TIME):
        part = columns.double()
        total += (part @ part.T).cpu()
    return total


def _sum_of_squared_products(vectors: Tensor) -> Tensor:
    """Return sum_i x_i^2 y_i^2 of all pairs of rows: (rows, rows) float64."""
    total = torch.zeros(len(vectors), len(vectors), dtype=torch.float64)
    for columns in _pieces(vectors, _COLUMNS_AT_A_TIME):
        part = columns.double().square()
        total += (part @ part.T).cpu()
    return total


def _within_runs(vectors: Tensor, length: int) -> Tensor:
    """Return sum_r (|x_r|^2 |y_r|^2 + <x_r, y_r>^2) over runs of entries: (rows, rows) float64."""
    total = torch.zeros(len(vectors), len(vectors), dtype=torch.float64)
    for columns in _pieces(vectors, length):
        products = _products(columns)
        squares = products.diagonal()
        total += torch.outer(squares, squares) + products.square()
    return total


def _pairs(matrix: Tensor) -> Tensor:
    """Return the entries above the diagonal of (rows, rows): (pairs,)."""
    rows, columns = matrix.shape
    first, second = torch.triu_indices(rows, columns, offset=1)
    return matrix[first, second]


def _pieces(vectors: Tensor, length: int) -> Iterator[Tensor]:
    for start in range(0, vectors.shape[1], length):
        yield vectors[:, start : start + length]
