"""The kernel of one scoring run: read, damped, factored, described."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dtrak_stream.gram.file import Gram
from dtrak_stream.kernel.damping import Damping, DampingChoice, GramFacts, choose_damping
from dtrak_stream.kernel.lanczos import EstimatedSpectrum
from dtrak_stream.kernel.matrix import MatrixInMemory, Moments, moments_of
from dtrak_stream.kernel.solvers import (
    CholeskyKernel,
    DampedKernel,
    Eigendecomposition,
    IterativeKernel,
)
from dtrak_stream.kernel.spectrum import EXACT_SIZE, ROUNDING, Spectrum, exact_spectrum
from dtrak_stream.scoring.no_features import no_features
from dtrak_stream.scoring.plan import Solver
from dtrak_stream.scoring.transforms import Transform
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.support.progress import say


@dataclass(frozen=True)
class KernelFacts:
    """What is told about the kernel of one model, with an entry for each lambda.

    Attributes
    ----------
    dampings
        Each lambda.
    freedom, freedom_error
        Effective degrees of freedom, and the error of their estimate; 0 where they are exact.
    rank
        Number of eigenvalues above float32 rounding; for a large matrix an estimate that counts
        small eigenvalues among those above.
    condition
        Of G + lambda I: largest over smallest eigenvalue; for a large matrix an upper bound.
    leakage
        Which share of queries' |phi_q|^2 the kernel leaves over; see `leakages`. NaN where it was
        not looked at.
    """

    dampings: tuple[Damping, ...]
    freedom: tuple[float, ...]
    freedom_error: tuple[float, ...]
    rank: float
    condition: tuple[float, ...]
    leakage: tuple[float, ...]

    def attributes(self, each: int) -> dict[str, float]:
        """Return what the scores file tells about one lambda."""
        damping = self.dampings[each]
        return {
            "damping_absolute": damping.absolute,
            "damping_relative": damping.relative,
            "mean_eigenvalue": damping.mean_eigenvalue,
            "effective_dimension": self.freedom[each],
            "effective_dimension_error": self.freedom_error[each],
            "rank": self.rank,
            "condition": self.condition[each],
            "leakage": self.leakage[each],
        }

    def leakage_in_words(self) -> str:
        """Return a sentence about how much of queries the kernel leaves over."""
        percent = " and ".join(f"{100 * share:.3g}" for share in self.leakage)
        return f"of queries' |phi|^2, {percent} % lies where no training feature does, or is damped"

    def arrays(self) -> dict[str, Any]:
        """Return everything as arrays (L,) by name, to keep in a checkpoint."""
        rows = [self.attributes(each) for each in range(len(self.dampings))]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> KernelFacts:
        """Return what `arrays` gave."""
        lists = {name: tuple(array.tolist()) for name, array in arrays.items()}
        names = ("damping_absolute", "damping_relative", "mean_eigenvalue")
        return cls(
            tuple(Damping(*row) for row in zip(*(lists[name] for name in names), strict=True)),
            lists["effective_dimension"],
            lists["effective_dimension_error"],
            lists["rank"][0],
            lists["condition"],
            lists["leakage"],
        )


@dataclass(frozen=True)
class ChosenKernel:
    """A damped kernel and what is told about it.

    Attributes
    ----------
    solver
        Solves with (G + lambda I).
    facts
        What came out.
    """

    solver: DampedKernel
    facts: KernelFacts


class KernelMaker:
    """Makes the kernel of one training store from its Gram matrix.

    Parameters
    ----------
    gram
        The matrix on disk.
    train
        The features it is of.
    transform
        What is done to the scores: the rule `auto` depends on it.
    visible
        Whether to show progress bars.
    """

    def __init__(
        self, gram: Gram, train: FeatureStore, transform: Transform, *, visible: bool
    ) -> None:
        self._gram, self._visible = gram, visible
        self._train = train
        self._samples = int(train.usable().sum())
        self._proj_dim = train.proj_dim
        self._transform = transform

    def make(self, choices: Sequence[DampingChoice], solver: Solver) -> ChosenKernel:
        """Choose each lambda and make what solves with it.

        Raises
        ------
        ConfigurationError
            See `choose_damping` and `CholeskyKernel`, and `no_features` of a matrix of zeros.
        CorruptFileError
            If the Gram matrix cannot be read.
        """
        if solver == "eigenvectors":
            matrix = self._gram.matrix()
            moments = moments_of(MatrixInMemory(matrix))
            decomposition = Eigendecomposition(matrix)
            facts = self._facts(choices, decomposition.spectrum, moments)
            return ChosenKernel(decomposition.kernel(facts.dampings), facts)
        if solver == "cholesky":
            matrix = self._gram.matrix()
            spectrum, moments = self._spectrum_in_memory(MatrixInMemory(matrix))
            facts = self._facts(choices, spectrum, moments)
            return ChosenKernel(CholeskyKernel(matrix, facts.dampings[0], spectrum), facts)
        estimated = EstimatedSpectrum(self._gram, visible=self._visible)
        facts = self._facts(choices, estimated, estimated.moments)
        iterative = IterativeKernel(self._gram, facts.dampings, visible=self._visible)
        return ChosenKernel(iterative, facts)

    def _spectrum_in_memory(self, matrix: MatrixInMemory) -> tuple[Spectrum, Moments]:
        if matrix.size <= EXACT_SIZE:
            return exact_spectrum(matrix.matrix), moments_of(matrix)
        estimated = EstimatedSpectrum(matrix, visible=self._visible)
        return estimated, estimated.moments

    def _facts(
        self, choices: Sequence[DampingChoice], spectrum: Spectrum, moments: Moments
    ) -> KernelFacts:
        if moments.trace <= 0:
            raise no_features(self._train)
        gram = GramFacts(
            self._samples,
            self._proj_dim,
            self._transform.freedom_per_sample,
            self._transform.freedom_per_dimension,
            moments,
        )
        dampings = tuple(choose_damping(choice, spectrum, gram) for choice in choices)
        values = [damping.absolute for damping in dampings]
        if isinstance(spectrum, EstimatedSpectrum) and min(values) > 0:
            spectrum.refine(min(values))
        facts = KernelFacts(
            dampings,
            freedom=tuple(map(spectrum.freedom, values)),
            freedom_error=tuple(map(spectrum.freedom_error, values)),
            rank=float(min(round(spectrum.rank), gram.rank_bound)),
            condition=tuple(_condition(spectrum, value) for value in values),
            leakage=(math.nan,) * len(values),
        )
        for each, choice in enumerate(choices):
            say(self._description(choice, facts, each))
            _warn_below_rounding(spectrum, choice, dampings[each])
        return facts

    def _description(self, choice: DampingChoice, facts: KernelFacts, each: int) -> str:
        damping, error = facts.dampings[each], facts.freedom_error[each]
        margin = f" ± {error:.1f}" if error else ""
        return (
            f"damping {choice.text}: lambda = {damping.absolute:.6g}, {damping.relative:.4g} of "
            f"the mean eigenvalue {damping.mean_eigenvalue:.4g}; effective degrees of freedom "
            f"{facts.freedom[each]:.1f}{margin}, {facts.freedom[each] / self._samples:.3g} N and "
            f"{facts.freedom[each] / self._proj_dim:.3g} k (N = {self._samples:,}, "
            f"k = {self._proj_dim:,}, "
            f"rank {'at most about ' if error else ''}{facts.rank:,.0f}, "
            f"condition {facts.condition[each]:.2g})"
        )


def _condition(spectrum: Spectrum, damping: float) -> float:
    smallest = spectrum.smallest + damping
    return (spectrum.largest + damping) / smallest if smallest > 0 else float("inf")


def _warn_below_rounding(spectrum: Spectrum, choice: DampingChoice, damping: Damping) -> None:
    least = ROUNDING * spectrum.largest
    if damping.absolute < least and not choice.kind.startswith("auto"):
        say(
            f"warning: damping {choice.text} is below what float32 features resolve "
            f"({least:.3g} = {least / damping.mean_eigenvalue:.3g} of the mean eigenvalue): "
            "rounding errors decide these scores; use a larger one"
        )
