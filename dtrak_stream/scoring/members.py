"""One term of the averages that scores are: a model, seen whole or through half a sketch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dtrak_stream.errors import CorruptFileError
from dtrak_stream.gram.plan import GramForm
from dtrak_stream.kernel.damping import DampingChoice
from dtrak_stream.kernel.solvers import DampedKernel
from dtrak_stream.methods import Method
from dtrak_stream.scoring.blocks import DotProducts, DualScores, PrimalScores, Products, ScoreBlocks
from dtrak_stream.scoring.ensemble import Ensemble, Model
from dtrak_stream.scoring.halves import HALVES, HalfSketch, half_gram
from dtrak_stream.scoring.kernel import ChosenKernel, KernelFacts, KernelMaker
from dtrak_stream.scoring.leakage import leakages
from dtrak_stream.scoring.normalisation import NORMALISATIONS, TrainingSide
from dtrak_stream.scoring.plan import Solver
from dtrak_stream.scoring.transforms import Transform
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


@dataclass(frozen=True)
class Member:
    """One term of an average.

    Attributes
    ----------
    model
        Its features.
    number
        Place of the model in the ensemble.
    variant
        Which average: 0 of the whole features, 1 and 2 of the two halves.
    """

    model: Model
    number: int
    variant: int = 0

    @property
    def facts_name(self) -> str:
        """Return the name under which what is told of the model's kernel is kept."""
        return f"kernel-{self.number:05d}"


def members_of(
    ensemble: Ensemble, *, error_bars: bool, memory_limit: int, visible: bool
) -> Iterator[Member]:
    """Yield the terms of all averages: stream by stream, of each the whole features first.

    For error bars the Gram matrices of both halves are computed on the way, if need be.
    """
    halves = HALVES if error_bars else ()
    for numbers in ensemble.streams:
        for number in numbers:
            yield Member(ensemble.models[number], number)
        for variant, half in enumerate(halves, start=1):
            for number in numbers:
                halved = _halved(ensemble.models[number], half, memory_limit, visible=visible)
                yield Member(halved, number, variant)


def _halved(model: Model, half: str, memory_limit: int, *, visible: bool) -> Model:
    train, query = HalfSketch(model.train, half), HalfSketch(model.query, half)
    halved = replace(model, train=train, query=query)
    if model.gram is None:
        return halved
    gram = half_gram(train, half, model.gram.path, memory_limit=memory_limit, visible=visible)
    return replace(halved, gram=gram)


class MemberScores:
    """Scores by one member, normalised.

    Parameters
    ----------
    member
        Features and Gram matrix.
    method
        What is done with them.
    kernel
        (G + lambda I)^-1, or None.
    products
        How features are multiplied.
    """

    def __init__(
        self, member: Member, method: Method, kernel: DampedKernel | None, products: Products
    ) -> None:
        model = member.model
        self._model, self._kernel, self._products = model, kernel, products
        self._normalisation = NORMALISATIONS[method.normalisation]
        self._training = TrainingSide(model.train, kernel, model.gram)

    def blocks(self, queries: range) -> ScoreBlocks:
        """Return what scores consecutive queries."""
        return self.blocks_of([queries])

    def blocks_of(self, queries: Sequence[range]) -> ScoreBlocks:
        """Return what scores several runs of queries as one block."""
        model = self._model
        stored = [model.query.rows(run) for run in queries]
        features = self._normalisation.queries(
            stored[0] if len(stored) == 1 else np.concatenate(stored)
        )
        if self._kernel is None or model.gram is None:
            return DotProducts(features, model.train, self._products)
        return _FORMS[model.gram.form](features, self._kernel, model.train, self._products)

    def factors(self, rows: range, name: str, checkpoints: Checkpoints) -> FloatArray | None:
        """Return what scores of training rows are multiplied with (L, n); None for nothing.

        They are the same for all blocks of queries: what took a solve is kept under `name`.
        """
        normalisation = self._normalisation
        if normalisation.of_training is None:
            return None
        if not normalisation.needs_solves:
            return normalisation.factors(self._training, rows).astype(np.float32)
        kept = checkpoints.load(name)
        if kept is None:
            kept = {"factors": normalisation.factors(self._training, rows)}
            checkpoints.save(name, **kept)
        return kept["factors"].astype(np.float32)


def member_scores(
    member: Member,
    method: Method,
    transform: Transform,
    choices: Sequence[DampingChoice],
    solver: Solver,
    checkpoints: Checkpoints,
    products: Products,
    *,
    visible: bool,
) -> MemberScores:
    """Make the kernel of a member, keep what is told about it, and return its scores.

    Halves take the lambda of the whole: what differs between them is the projection alone.
    """
    gram = member.model.gram
    if gram is None:
        return MemberScores(member, method, None, products)
    maker = KernelMaker(gram, member.model.train, transform, visible=visible)
    if member.variant:
        same = maker.make(_same(member, checkpoints), solver)
        return MemberScores(member, method, same.solver, products)
    chosen = maker.make(choices, solver)
    facts = chosen.facts
    if solver != "conjugate gradients":  # a solution of those takes many passes over the matrix
        facts = replace(facts, leakage=_leakages(member.model, gram.form, chosen, products))
        say(facts.leakage_in_words())
    checkpoints.drop(member.facts_name)
    checkpoints.save(member.facts_name, **facts.arrays())
    return MemberScores(member, method, chosen.solver, products)


def _leakages(
    model: Model, form: GramForm, chosen: ChosenKernel, products: Products
) -> tuple[float, ...]:
    dampings = chosen.facts.dampings
    return leakages(model.train, model.query, form, chosen.solver, dampings, products)


def _same(member: Member, checkpoints: Checkpoints) -> list[DampingChoice]:
    dampings = kernel_facts(member, checkpoints).dampings
    return [
        DampingChoice(
            f"abs:{damping.absolute:g} (half of the features)", "absolute", damping.absolute
        )
        for damping in dampings
    ]


def kernel_facts(member: Member, checkpoints: Checkpoints) -> KernelFacts:
    """Return what is told about the kernel of a member's model.

    Raises
    ------
    CorruptFileError
        If it was damaged since it was kept.
    """
    arrays = checkpoints.load(member.facts_name)
    if arrays is None:
        raise CorruptFileError(
            f"what was kept of a model ({member.facts_name}) was damaged since it was written",
            where=checkpoints.folder,
            remedy="run the same command again; it makes that kernel anew",
        )
    return KernelFacts.from_arrays(arrays)
