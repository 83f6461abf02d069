"""What may be done to scores: the table of transforms.

A transform is one row here. Options and their help, the rule `auto` for lambda, scoring, and the
words of a report read its columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from dtrak_stream.errors import ConfigurationError

if TYPE_CHECKING:
    from dtrak_stream.methods import Method, Stream
    from dtrak_stream.store.shard import FloatArray

_FIRST_ORDER, _SQUARED = (0.15, 0.45), (0.12, 0.36)


@dataclass(frozen=True)
class Transform:
    """One transform of scores.

    Attributes
    ----------
    name
        Name on the command line.
    explanation
        What it does, as the help of `--transform` says it.
    keeps_sign
        Whether transformed scores still tell proponents from opponents.
    freedom_per_sample
        Share of N that the effective degrees of freedom should be while N <= k, for the rule
        `auto`: a compromise between the data sets of `dtrak-stream bench lds`, whose best shares
        lie between 0.05 and 0.3.
    freedom_per_dimension
        Share of k that bounds them when N > k: 1 / df = 1 / (a N) + 1 / (b k), fitted for scores
        as they are.
    word
        What transformed scores are called.
    function
        What is done to scores (..., n); None: nothing.
    of_each
        Whether it is done to those of each store before their mean is taken, and not to the mean.
    """

    name: str
    explanation: str
    keeps_sign: bool
    freedom_per_sample: float
    freedom_per_dimension: float
    word: str
    function: Callable[[FloatArray], FloatArray] | None = None
    of_each: bool = False

    @property
    def heeds_held_out(self) -> bool:
        """Return whether held-out images may tell these shares: measured for squares alone."""
        return (self.freedom_per_sample, self.freedom_per_dimension) == _SQUARED

    def of_freedom(self, per_sample: float | None) -> Transform:
        """Return the same with what held-out images tell of the shares, if it heeds them."""
        if per_sample is None or not self.heeds_held_out:
            return self
        per_dimension = per_sample * self.freedom_per_dimension / self.freedom_per_sample
        return replace(self, freedom_per_sample=per_sample, freedom_per_dimension=per_dimension)

    def each(self, scores: FloatArray) -> FloatArray:
        """Return the scores of one store as they enter the mean: same shape, float32."""
        return self.function(scores) if self.function and self.of_each else scores

    def mean(self, scores: FloatArray) -> FloatArray:
        """Return transformed mean scores: same shape, float32."""
        return self.function(scores) if self.function and not self.of_each else scores


def _square(scores: FloatArray) -> FloatArray:
    return scores * scores


def _magnitude(scores: FloatArray) -> FloatArray:
    return abs(scores)


def _signed_square(scores: FloatArray) -> FloatArray:
    squares: FloatArray = scores * abs(scores)
    return squares


# `abs` was not measured: it ranks training samples as `square` does, and takes its shares
_TABLE = (
    Transform("none", "scores as they are", True, *_FIRST_ORDER, "untransformed"),
    Transform(
        "signed-square",
        "s |s|, which predicts retraining better and ranks as s does",
        True,
        *_SQUARED,
        "squared",
        _signed_square,
    ),
    Transform(
        "square",
        "without a sign, so without opponents; of several stores the mean is squared",
        False,
        *_SQUARED,
        "squared",
        _square,
    ),
    Transform(
        "mean-square",
        "the same, but the mean of the squares",
        False,
        *_SQUARED,
        "squared",
        _square,
        of_each=True,
    ),
    Transform("abs", "without a sign", False, *_SQUARED, "absolute", _magnitude),
)

TRANSFORMS: dict[str, Transform] = {transform.name: transform for transform in _TABLE}

if TYPE_CHECKING:
    TransformName = str
else:  # the command line refuses what is not in the table
    TransformName = Literal[tuple(TRANSFORMS)]


def transform_of(method: Method, asked: str) -> Transform:
    """Return what is done to the scores of a method when the user asks for `asked`.

    A method whose score is a square by itself stays one: asking for that changes nothing.

    Raises
    ------
    ConfigurationError
        If there is no such transform, or another one is asked of a method that has its own.
    """
    if asked not in TRANSFORMS:
        raise ConfigurationError(
            "unknown transform",
            where=f"--transform {asked}",
            remedy=f"use one of: {', '.join(TRANSFORMS)}",
        )
    if method.transform == "none" or asked in ("none", method.transform):
        return TRANSFORMS[asked if method.transform == "none" else method.transform]
    raise ConfigurationError(
        f"the score of {method.name} is transformed already ({method.transform})",
        where=f"--transform {asked}",
        remedy="leave it out, or choose another --method",
    )


def streams_of(method: Method, asked: str) -> tuple[Stream, ...]:
    """Return the streams of a method, with what is done to each when the user asks for `asked`.

    Raises
    ------
    ConfigurationError
        As `transform_of`.
    """
    asked = transform_of(method, asked).name
    return method.streams if method.is_sum else (replace(method.streams[0], transform=asked),)


def transforms_in_words() -> str:
    """Return what each transform does, for the help of its option."""
    return "; ".join(f"{one.name}: {one.explanation}" for one in TRANSFORMS.values())
