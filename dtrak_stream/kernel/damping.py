"""Lambda: how it is asked for, and the rules and units that give its value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.kernel.lanczos import EstimatedSpectrum
from dtrak_stream.kernel.matrix import Moments
from dtrak_stream.kernel.spectrum import ROUNDING, Spectrum, damping_for_freedom

Rule = Literal["auto", "auto-oas"]
RULES: tuple[Rule, ...] = ("auto", "auto-oas")
PATH = tuple(digit * 10.0**power for power in range(-4, 2) for digit in (1, 2, 5))
"""Dampings of `path`, as multiples of the mean eigenvalue: the best ones of all output functions,
numbers of timesteps and noise keyings of a benchmark lie between 0.001 and 3."""


@dataclass(frozen=True)
class Damping:
    """A chosen lambda.

    Attributes
    ----------
    absolute
        lambda, in units of the Gram matrix.
    relative
        lambda divided by the mean eigenvalue.
    mean_eigenvalue
        trace(G) / min(N, k): the mean over the eigenvalues that can be other than zero.
    """

    absolute: float
    relative: float
    mean_eigenvalue: float


@dataclass(frozen=True)
class DampingChoice:
    """One lambda as it is asked for.

    Attributes
    ----------
    text
        How it was written.
    kind
        `relative`: a multiple of the mean eigenvalue. `absolute`: in units of the Gram matrix.
        `auto` and `auto-oas`: by a rule.
    value
        The number; unused by a rule.
    """

    text: str
    kind: Literal["relative", "absolute"] | Rule
    value: float = 0.0


@dataclass(frozen=True)
class DampingChoices:
    """All lambdas asked for.

    Attributes
    ----------
    each
        One or more.
    several
        Whether a list was asked for, even if of one lambda.
    whole_path
        Whether it is the path, which is computed from one eigendecomposition or not at all.
    """

    each: tuple[DampingChoice, ...]
    several: bool
    whole_path: bool


def parse_dampings(text: str) -> DampingChoices:
    """Read the value of `--damping`.

    Parameters
    ----------
    text
        `auto`, `auto-oas`, `0.1` (a multiple of the mean eigenvalue), `abs:500`, several of these
        separated by commas, or `path` (the multiples in `PATH`).

    Raises
    ------
    ConfigurationError
        If it is anything else, or a negative number.
    """
    if text == "path":
        path = tuple(DampingChoice(f"{value:g}", "relative", value) for value in PATH)
        return DampingChoices(path, several=True, whole_path=True)
    parts = text.split(",")
    each = tuple(_choice(part.strip()) for part in parts)
    return DampingChoices(each, several=len(parts) > 1, whole_path=False)


def _choice(text: str) -> DampingChoice:
    for rule in RULES:
        if text == rule:
            return DampingChoice(text, rule)
    kind, _, number = text.rpartition(":")
    if kind not in ("", "abs"):
        raise _refusal(text)
    return DampingChoice(text, "absolute" if kind else "relative", _number(number, text))


def _number(number: str, text: str) -> float:
    try:
        value = float(number)
    except ValueError as error:
        raise _refusal(text) from error
    if not 0 <= value < float("inf"):
        raise _refusal(text)
    return value


def _refusal(text: str) -> ConfigurationError:
    return ConfigurationError(
        "not a damping",
        where=f"--damping {text}",
        remedy="use auto, auto-oas, a multiple of the mean eigenvalue such as 0.1 (not negative), "
        "abs:500, several of these as 0.01,0.1,abs:500, or path",
    )


@dataclass(frozen=True)
class GramFacts:
    """What the choice of lambda depends on besides the eigenvalues.

    Attributes
    ----------
    samples
        N, the number of usable training samples.
    proj_dim
        k, the length of a feature.
    freedom_per_sample, freedom_per_dimension
        Shares of N and of k that the rule `auto` aims at; see `wanted_freedom`.
    moments
        Trace of the Gram matrix, and of its square.
    """

    samples: int
    proj_dim: int
    freedom_per_sample: float
    freedom_per_dimension: float
    moments: Moments

    @property
    def rank_bound(self) -> int:
        """Return the largest rank the Gram matrix can have."""
        return min(self.samples, self.proj_dim)

    @property
    def mean_eigenvalue(self) -> float:
        """Return trace(G) / min(N, k)."""
        return self.moments.trace / max(1, self.rank_bound)

    @property
    def wanted_freedom(self) -> float:
        """Return the effective degrees of freedom that the `auto` rule aims at.

        A share a of N while N <= k. Fewer when features are shorter than the data set is long:
        1 / df = 1 / (a N) + 1 / (b k).
        """
        per_sample = self.freedom_per_sample * self.samples
        if self.samples <= self.proj_dim:
            return per_sample
        per_dimension = self.freedom_per_dimension * self.proj_dim
        return 1 / (1 / per_sample + 1 / per_dimension)


def choose_damping(choice: DampingChoice, spectrum: Spectrum, facts: GramFacts) -> Damping:
    """Return lambda for a choice.

    `auto` is the lambda whose effective degrees of freedom are `facts.wanted_freedom`, or the
    smallest above rounding if the rank is too low for that. `auto-oas` is the oracle
    approximating shrinkage, also kept above rounding.

    Raises
    ------
    ConfigurationError
        If all features are zero, or zero damping was asked for and the matrix is singular.
    """
    mean = facts.mean_eigenvalue
    if mean <= 0:
        raise ConfigurationError(
            "the Gram matrix is zero: no usable training sample has a gradient",
            where="training features",
            remedy="look at quarantine.jsonl of the store, and check model and output function",
        )
    if choice.kind == "auto":
        absolute = max(_for_freedom(spectrum, facts), ROUNDING * spectrum.largest)
    elif choice.kind == "auto-oas":
        absolute = max(shrinkage_damping(facts), ROUNDING * spectrum.largest)
    else:
        absolute = choice.value * (1.0 if choice.kind == "absolute" else mean)
    if absolute == 0:
        _refuse_singular(spectrum)
    return Damping(absolute, absolute / mean, mean)


def _for_freedom(spectrum: Spectrum, facts: GramFacts) -> float:
    found = damping_for_freedom(spectrum, facts.wanted_freedom)
    if not isinstance(spectrum, EstimatedSpectrum):
        return found
    while True:  # each refinement makes the estimate at `found` better, and so moves it less
        steps = spectrum.steps
        spectrum.refine(max(found, ROUNDING * spectrum.largest))
        if spectrum.steps == steps:
            return found
        found = damping_for_freedom(spectrum, facts.wanted_freedom)


def shrinkage_damping(facts: GramFacts) -> float:
    """Return the lambda of the oracle approximating shrinkage of the features' covariance.

    The kernel is the inverse of a covariance estimated from N samples in k dimensions. Shrinking
    S = Phi^T Phi / N towards a multiple of the identity, (1 - rho) S + rho trace(S) / k I, with
    the rho that minimises the expected squared error of a Gaussian's covariance (Chen, Wiesel,
    Eldar and Hero 2010, equation 23) is, up to a factor of all scores, the damping
    lambda = rho / (1 - rho) trace(G) / k. It needs two traces, which are the same in both forms,
    and has no constant to fit.
    """
    samples, dim = facts.samples, facts.proj_dim
    trace, square = facts.moments.trace / samples, facts.moments.square_sum / samples**2
    above = (1 - 2 / dim) * square + trace**2
    below = (samples + 1 - 2 / dim) * (square - trace**2 / dim)
    share = min(above / below, 0.999) if below > 0 else 0.999
    return share / (1 - share) * facts.moments.trace / dim


def _refuse_singular(spectrum: Spectrum) -> None:
    if round(spectrum.rank) < spectrum.size:
        raise singular(spectrum, Damping(0.0, 0.0, 1.0))


def singular(spectrum: Spectrum, damping: Damping) -> ConfigurationError:
    """Return the refusal of a damping that leaves the matrix singular."""
    size = spectrum.size
    return ConfigurationError(
        f"the Gram matrix ({size} x {size}) with this damping is singular: its rank is about "
        f"{spectrum.rank:.0f}",
        where=f"damping {damping.absolute:g} ({damping.relative:g} of the mean eigenvalue)",
        remedy="use --damping auto, or a larger one such as 0.1",
    )
