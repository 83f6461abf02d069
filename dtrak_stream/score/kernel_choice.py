"""The kernel of one scoring run: read, damped, factored, described."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dtrak_stream.gram import Gram, GramForm
from dtrak_stream.kernel import DampedKernel, Damping, GramFacts, choose_damping
from dtrak_stream.score.blocks import DualScores, PrimalScores, ScoreBlocks
from dtrak_stream.score.options import ScoreOptions
from dtrak_stream.store import FeatureStore
from dtrak_stream.store.shard import FloatArray

_FORMS: dict[GramForm, Callable[[FloatArray, DampedKernel, FeatureStore], ScoreBlocks]] = {
    "primal": PrimalScores,
    "dual": DualScores,
}


@dataclass(frozen=True)
class ChosenKernel:
    """A damped kernel and how it came about.

    Attributes
    ----------
    factored
        Solves with (G + lambda I).
    form
        Which Gram matrix it is made of.
    damping
        lambda.
    effective_freedom
        df(lambda).
    description
        One line for the user.
    """

    factored: DampedKernel
    form: GramForm
    damping: Damping
    effective_freedom: float
    description: str

    @property
    def attributes(self) -> dict[str, str | float]:
        """Return what the scores file tells about the kernel."""
        return {
            "damping_absolute": self.damping.absolute,
            "damping_relative": self.damping.relative,
            "mean_eigenvalue": self.damping.mean_eigenvalue,
            "effective_dimension": self.effective_freedom,
            "gram_form": self.form,
        }

    def score_blocks(self, queries: FloatArray, train: FeatureStore) -> ScoreBlocks:
        """Return what scores these queries (Q, k)."""
        return _FORMS[self.form](queries, self.factored, train)


def make_kernel(gram: Gram, train: FeatureStore, options: ScoreOptions) -> ChosenKernel:
    """Choose lambda for the Gram matrix, which is used up, and factor it.

    Raises
    ------
    ConfigurationError
        See `choose_damping` and `DampedKernel`.
    """
    facts = GramFacts(int(train.usable().sum()), train.proj_dim, options.transform)
    damping = choose_damping(options.damping, gram.matrix, facts)
    factored = DampedKernel(gram.matrix, damping)
    freedom = factored.effective_freedom()
    description = (
        f"damping {options.damping}: lambda = {damping.absolute:.6g}, {damping.relative:.4g} of "
        f"the mean eigenvalue; effective degrees of freedom {freedom:.1f} "
        f"(N = {facts.samples:,}, k = {facts.proj_dim:,})"
    )
    return ChosenKernel(factored, gram.form, damping, freedom, description)
