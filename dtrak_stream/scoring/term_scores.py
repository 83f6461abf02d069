"""What one term adds to its average: its scores, by a kernel of its own, as they enter there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from dtrak_stream.gram.plan import GramForm
from dtrak_stream.kernel.damping import DampingChoice
from dtrak_stream.kernel.solvers import DampedKernel
from dtrak_stream.methods import Method
from dtrak_stream.scoring.blocks import DotProducts, DualScores, PrimalScores, Products, ScoreBlocks
from dtrak_stream.scoring.kernel import ChosenKernel, KernelFacts, KernelMaker
from dtrak_stream.scoring.leakage import leakages
from dtrak_stream.scoring.normalisation import NORMALISATIONS, TrainingSide
from dtrak_stream.scoring.plan import Solver
from dtrak_stream.scoring.terms import Term
from dtrak_stream.scoring.transforms import TRANSFORMS, Transform
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.shard import FloatArray
from dtrak_stream.support.checkpoints import Checkpoints
from dtrak_stream.support.progress import say

_FORMS: dict[
    GramForm, Callable[[FloatArray, DampedKernel, FeatureStore, Products], ScoreBlocks]
] = {
    "primal": PrimalScores,
    "dual": DualScores,
}


class TermScores:
    """Scores by one term: normalised, transformed where each is, with its weight.

    Parameters
    ----------
    term
        Features and Gram matrix.
    method
        What is done with them.
    kernel
        (G + lambda I)^-1, or None.
    transform
        What is done to the scores of its stream.
    products
        How features are multiplied.
    checkpoints
        Where what took solves is kept; None: nowhere.
    """

    def __init__(
        self,
        term: Term,
        method: Method,
        kernel: DampedKernel | None,
        transform: Transform = TRANSFORMS["none"],
        products: Products = Products(),  # noqa: B008 (frozen)
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self._term, self._kernel, self._transform = term, kernel, transform
        self._products, self._checkpoints = products, checkpoints
        self._normalisation = NORMALISATIONS[method.normalisation]
        self._training = TrainingSide(term.train, kernel, term.gram)

    def of(self, queries: Sequence[range], rows: Sequence[range]) -> Iterator[FloatArray]:
        """Yield the scores (L, Q, n) float32 against each of several runs of training rows.

        They may be changed, and are good until the next ones are asked for.

        Parameters
        ----------
        queries
            Runs of queries, which are scored as one block.
        rows
            Runs of training rows.
        """
        taus = self._blocks(queries).of_parts(rows)
        for run, tau in zip(rows, taus, strict=True):
            factors = self._factors(run)
            if factors is not None:
                tau *= factors[:, None]
            scores = self._transform.each(tau)
            if self._term.weight != 1:
                scores *= np.float32(self._term.weight)
            yield scores

    def _blocks(self, queries: Sequence[range]) -> ScoreBlocks:
        term = self._term
        stored = [term.query.rows(run) for run in queries]
        features = self._normalisation.queries(
            stored[0] if len(stored) == 1 else np.concatenate(stored)
        )
        if self._kernel is None or term.gram is None:
            return DotProducts(features, term.train, self._products)
        return _FORMS[term.gram.form](features, self._kernel, term.train, self._products)

    def _factors(self, rows: range) -> FloatArray | None:
        """Return what scores of training rows are multiplied with (L, n); None for nothing.

        They are the same for all blocks of queries: what took a solve is kept.
        """
        normalisation = self._normalisation
        if normalisation.of_training is None:
            return None
        if self._checkpoints is None or not normalisation.needs_solves:
            return normalisation.factors(self._training, rows).astype(np.float32)
        term = self._term
        name = f"factors-{term.variant}-{term.number:05d}-{rows.start:012d}-{rows.stop:012d}"
        kept = self._checkpoints.load(name)
        if kept is None:
            kept = {"factors": normalisation.factors(self._training, rows)}
            self._checkpoints.save(name, **kept)
        return kept["factors"].astype(np.float32)


def term_scores(
    term: Term,
    method: Method,
    transform: Transform,
    choices: Sequence[DampingChoice],
    solver: Solver,
    checkpoints: Checkpoints,
    products: Products,
    *,
    visible: bool,
) -> TermScores:
    """Make the kernel of a term, keep what is told about it, and return its scores.

    Halves take the lambda of the whole: what differs between them is the projection alone.
    """
    kernel = None
    if term.gram is not None:
        maker = KernelMaker(term.gram, term.train, transform, visible=visible)
        if term.variant:
            kernel = maker.make(_same(term, checkpoints), solver).solver
        else:
            chosen = maker.make(choices, solver)
            _keep_facts(term, chosen, solver, checkpoints, products)
            kernel = chosen.solver
    return TermScores(term, method, kernel, transform, products, checkpoints)


def _keep_facts(
    term: Term, chosen: ChosenKernel, solver: Solver, checkpoints: Checkpoints, products: Products
) -> None:
    facts, gram = chosen.facts, term.gram
    if gram is not None and solver != "conjugate gradients":  # each solution would be many passes
        stores, dampings = (term.train, term.query), facts.dampings
        found = leakages(*stores, gram.form, chosen.solver, dampings, products)
        facts = replace(facts, leakage=found)
        say(facts.leakage_in_words())
    checkpoints.drop(term.facts_name)
    checkpoints.save(term.facts_name, **facts.arrays())


def _same(term: Term, checkpoints: Checkpoints) -> list[DampingChoice]:
    dampings = kernel_facts(term, checkpoints).dampings
    return [
        DampingChoice(
            f"abs:{damping.absolute:g} (half of the features)", "absolute", damping.absolute
        )
        for damping in dampings
    ]


def kernel_facts(term: Term, checkpoints: Checkpoints) -> KernelFacts:
    """Return what is told about the kernel of a term.

    Raises
    ------
    CorruptFileError
        If it was damaged since it was kept.
    """
    told = {"what": "what was kept of a model", "remedy": "it makes that kernel anew"}
    return KernelFacts.from_arrays(checkpoints.require(term.facts_name, **told))
