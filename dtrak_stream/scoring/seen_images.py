"""What scores make of the probability that the model saw a training image.

========  ==================================================================
mode      what a score is multiplied by
========  ==================================================================
off       nothing: the probability stands beside the score
weight    the probability
filter    1 where the probability is at least 1/2, 0 elsewhere
========  ==================================================================

An image whose probability is not known keeps its score.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.errors import ConfigurationError, InputError, refuse_differences
from dtrak_stream.scoring.options import ScoreConfig, SeenMode
from dtrak_stream.scoring.relative_places import open_places, refuse_places_alone, relative_to
from dtrak_stream.scoring.relative_residuals import RelativeResiduals
from dtrak_stream.scoring.scored_images import images_of
from dtrak_stream.scoring.terms import Terms
from dtrak_stream.seen.judgement import (
    Judgement,
    in_words,
    judge,
    judge_stores,
    ratio_of_stores,
    refuse_other_residuals,
)
from dtrak_stream.seen.overfitting import freedom_share
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.shard import FloatArray
from dtrak_stream.support.progress import say

_LIKELY = 0.5


@dataclass(frozen=True)
class SeenImages:
    """What residuals tell of the training images.

    Attributes
    ----------
    candidates, held_out
        The stores of residuals.
    mode
        What is done to the scores.
    relative
        What residuals are taken relative to; None if they are taken by themselves.
    """

    candidates: FeatureStore
    held_out: FeatureStore
    mode: SeenMode
    relative: RelativeResiduals | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """Return what decides the probabilities."""
        if self.relative is not None:
            return self.relative.of_stores | {"neighbours": self.relative.neighbours}
        return {
            "neighbours": 0,
            "residuals_fingerprint": self.candidates.layout.state,
            "held_out_fingerprint": self.held_out.layout.state,
        }

    @cached_property
    def judgement(self) -> Judgement:
        """Return the probabilities, and how sure they are; they are found out once.

        Raises
        ------
        InputError
            If there are too few held-out images, or scores are to depend on residuals that cannot
            tell.
        """
        found = self._judged()
        if self.mode != "off" and not found.tells:
            raise InputError(
                "its residuals cannot be told from those of the training images "
                f"({found.area.value:.2f} +- {found.area.error:.2f} of pairs are in order, 0.5 is "
                "chance)",
                where=f"--seen {self.mode}: {self.held_out.layout.root}",
                remedy="give more held-out images, or leave --seen off",
            )
        return found

    def _judged(self) -> Judgement:
        """Judge by relative residuals where they are asked for; R is of residuals by themselves."""
        if self.relative is None:
            return judge_stores(self.candidates, self.held_out)
        found = judge(*self.relative.found())
        ratio = ratio_of_stores(self.candidates, self.held_out)
        return replace(found, ratio=ratio, neighbours=self.relative.neighbours)

    def tell(self) -> None:
        """Tell what was found out before anything is scored; raises as `judgement`."""
        for line in in_words(self.judgement.attributes()):
            say(line)

    @property
    def freedom(self) -> float:
        """Return the share of N that the degrees of freedom of squared scores are to be."""
        return freedom_share(self.judgement.ratio.value)

    def tell_freedom(self) -> None:
        """Tell what the rule `auto` makes of held-out images."""
        ratio = self.judgement.ratio
        say(
            f"The model is {ratio.value:.2f} +- {ratio.error:.2f} times as wrong about held-out "
            f"images as about training images: --damping auto aims at {self.freedom:.3g} N "
            "effective degrees of freedom"
        )

    @cached_property
    def factors(self) -> NDArray[np.float32]:
        """Return what scores of each training image are multiplied by: (N,)."""
        return score_factors(self.judgement.probability, self.mode)

    def apply(self, scores: FloatArray, rows: range) -> None:
        """Multiply the scores (..., n) of some training images in place."""
        if self.mode != "off":
            scores *= self.factors[rows.start : rows.stop]


def score_factors(probability: NDArray[np.float32], mode: SeenMode) -> NDArray[np.float32]:
    """Return what scores are multiplied by, (N,), for the probability (N,) that each was seen."""
    if mode == "off":
        return np.ones_like(probability)
    likely = (probability >= _LIKELY).astype(np.float32)
    factors = likely if mode == "filter" else probability.copy()
    factors[np.isnan(probability)] = 1
    return factors


def open_seen(config: ScoreConfig, terms: Terms) -> SeenImages | None:
    """Open the residuals of the training images and of held-out ones, if they are given.

    Raises
    ------
    ConfigurationError
        If only one of them is given, scores are to depend on neither, or there are several models.
    InputError, FingerprintMismatchError
        If they are no residuals, cannot be compared, or are of other images or another model than
        the training features.
    """
    if config.residuals is None or config.held_out is None:
        _refuse_half(config)
        refuse_places_alone(config)
        return None
    if len(_models(terms)) > 1:
        raise ConfigurationError(
            "several models saw images of their own",
            where=f"--residuals {config.residuals}",
            remedy="score by one model at a time",
        )
    candidates, held_out = map(FeatureStore.open, (config.residuals, config.held_out))
    pixels = open_places(config)
    refuse_other_residuals(candidates, held_out)
    _refuse_other_candidates(terms, candidates)
    relative = relative_to(config, (candidates, held_out), pixels) if pixels else None
    return SeenImages(candidates, held_out, config.options.seen, relative)


def _refuse_half(config: ScoreConfig) -> None:
    given, missing = "--residuals", "--held-out"
    if config.residuals is None:
        given, missing = missing, given
    if config.residuals is None and config.held_out is None:
        if config.options.seen == "off":
            return
        given = f"--seen {config.options.seen}"
    raise ConfigurationError(
        "the probability that the model saw an image takes residuals of both: the training images "
        "and held-out ones",
        where=given,
        remedy=f"give {missing}, a store made with dtrak-stream featurize --output-function "
        "residuals",
    )


def _models(terms: Terms) -> set[str]:
    """Return the hash of the weights of each diffusion model that computed training features."""
    fingerprints = [term.train.fingerprint for term in terms.each]
    return {each.weights for each in fingerprints if each.noise_draws and not each.is_imported}


def _refuse_other_candidates(terms: Terms, candidates: FeatureStore) -> None:
    train = terms.first.train
    pairs: list[tuple[str, Any, Any]] = [("samples", len(train), len(candidates))]
    images = images_of(train.layout), images_of(candidates.layout)
    if all(images):
        pairs.append(("images", *images))
    pairs += [("weights", each, candidates.fingerprint.weights) for each in _models(terms)]
    refuse_differences(
        pairs,
        where=candidates.layout.root,
        remedy="featurize the residuals of the same images, by the same model",
    )
