"""What residuals of candidates and of held-out images say together, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.errors import InputError
from dtrak_stream.features.comparing import refuse_other_features
from dtrak_stream.features.names import RESIDUALS
from dtrak_stream.seen.calibration import calibrate
from dtrak_stream.seen.detection import (
    Estimate,
    Residuals,
    area_under_curve,
    true_positives,
)
from dtrak_stream.seen.overfitting import loss_ratio
from dtrak_stream.store.reader import FeatureStore

FEWEST_HELD_OUT = 80
_SURE = 2
"""Standard errors by which an area under the curve must lie above 1/2."""


@dataclass(frozen=True)
class Judgement:
    """How probable it is that the model saw each candidate.

    Attributes
    ----------
    probability
        (N,) float32; NaN for candidates without a residual, and for all if residuals cannot tell.
    held_out
        Number of held-out images with a residual: one half fitted the probability, one reports.
    area
        How often a candidate's residual is below that of a held-out image of the reporting half.
    positives
        Share of candidates told from unseen images at 1 % false positives; None if too few
        held-out images report.
    unseen_share
        The share of candidates that the model did not see, from above.
    mean_of_candidates, mean_of_held_out
        The mean probability of each, of held-out images that report; NaN if residuals cannot tell.
    ratio
        R: the mean residual of all held-out images over that of the candidates.
    neighbours
        How many neighbours' residuals they are relative to; 0 for residuals by themselves.
    """

    probability: NDArray[np.float32]
    held_out: int
    area: Estimate
    positives: Estimate | None
    unseen_share: float
    mean_of_candidates: float
    mean_of_held_out: float
    ratio: Estimate
    neighbours: int = 0

    @property
    def tells(self) -> bool:
        """Return whether residuals tell candidates from held-out images at all."""
        return _tells(*self.area)

    def attributes(self) -> dict[str, Any]:
        """Return what is kept of it beside the probabilities; see `in_words`."""
        found = {
            "held_out_images": self.held_out,
            "seen_area": self.area.value,
            "seen_area_error": self.area.error,
            "held_out_loss_ratio": self.ratio.value,
            "held_out_loss_ratio_error": self.ratio.error,
        }
        if self.neighbours:
            found["neighbours"] = self.neighbours
        if self.positives is not None:
            found["seen_positives"], found["seen_positives_error"] = self.positives
        if self.tells:
            found["unseen_share_at_most"] = self.unseen_share
            found["seen_mean_of_candidates"] = self.mean_of_candidates
            found["seen_mean_of_held_out"] = self.mean_of_held_out
        return found


def judge(candidates: Residuals, held_out: Residuals) -> Judgement:
    """Fit the probability on every other held-out image and report on those between.

    Parameters
    ----------
    candidates, held_out
        Residuals (N,) and (M,); NaN where there is none.

    Raises
    ------
    InputError
        If fewer than 80 held-out images, or no two candidates, have a residual.
    """
    known, theirs = candidates[np.isfinite(candidates)], held_out[np.isfinite(held_out)]
    _refuse_too_few(known, theirs)
    fitting, reporting = theirs[::2], theirs[1::2]
    area = area_under_curve(known, reporting)
    positives, ratio = true_positives(known, reporting), loss_ratio(known, theirs)
    if not _tells(*area):
        nothing = np.full(len(candidates), np.nan, np.float32)
        return Judgement(nothing, len(theirs), area, positives, 1.0, np.nan, np.nan, ratio)
    calibration = calibrate(known, fitting)
    probability = calibration.probability(candidates)
    return Judgement(
        probability,
        len(theirs),
        area,
        positives,
        calibration.unseen_share,
        float(np.nanmean(probability)),
        float(calibration.probability(reporting).mean()),
        ratio,
    )


def judge_stores(candidates: FeatureStore, held_out: FeatureStore) -> Judgement:
    """Judge by two stores of residuals; raises as `judge`, and as `refuse_other_residuals`."""
    refuse_other_residuals(candidates, held_out)
    return judge(residuals_in(candidates), residuals_in(held_out))


def ratio_of_stores(candidates: FeatureStore, held_out: FeatureStore) -> Estimate:
    """Return R, of two stores of residuals; those without a residual are left out."""
    known = (residuals_in(store) for store in (candidates, held_out))
    return loss_ratio(*(values[np.isfinite(values)] for values in known))


def refuse_other_residuals(candidates: FeatureStore, held_out: FeatureStore) -> None:
    """Refuse stores that hold no residuals, or residuals that cannot be compared.

    Raises
    ------
    InputError
        If a store holds other features.
    FingerprintMismatchError
        If model, timesteps or noise differ.
    ConfigurationError
        If both are of the same images.
    """
    for store, flag in ((candidates, "--residuals"), (held_out, "--held-out")):
        function = store.fingerprint.output_function
        if function != RESIDUALS:
            raise InputError(
                f"holds features of {function}, not residuals",
                where=f"{flag} {store.layout.root}",
                remedy="give a store made with dtrak-stream featurize --output-function residuals",
            )
    refuse_other_features(candidates.fingerprint, held_out.fingerprint, where=held_out.layout.root)
    if candidates.fingerprint.images == held_out.fingerprint.images:
        raise InputError(
            "holds the candidates themselves",
            where=f"--held-out {held_out.layout.root}",
            remedy="give images of the same kind that the model did not see",
        )


def residuals_in(store: FeatureStore) -> Residuals:
    """Return one residual for each row of a store: (N,) float64, NaN where there is none.

    Of several timesteps it is the geometric mean: each counts alike, however large its errors are.
    """
    residuals = np.full(len(store), np.nan)
    for shard in range(store.layout.num_shards):
        for rows, errors in store.blocks(shard):  # (n, timesteps)
            floor = np.finfo(np.float32).tiny
            logarithms = np.log(np.maximum(errors, floor, dtype=np.float64))
            residuals[rows.start : rows.stop] = np.exp(logarithms.mean(axis=1))
    residuals[~store.usable()] = np.nan
    return residuals


def in_words(attributes: Mapping[str, Any]) -> list[str]:
    """Return in sentences what `Judgement.attributes` tells; nothing if it tells nothing."""
    if "seen_area" not in attributes:
        return []
    area, error = attributes["seen_area"], attributes["seen_area_error"]
    count = attributes["held_out_images"]
    neighbours = attributes.get("neighbours", 0)
    beside = ""
    if neighbours:
        beside = f", each relative to the {neighbours:,} images nearest to it in pixels,"
    measured = (
        f"The model is less wrong about a candidate than about a held-out image{beside} in "
        f"{100 * area:.0f} +- {100 * error:.0f} % of pairs (50 % is chance; {count:,} held-out "
        "images)"
    )
    if not _tells(area, error):
        return [
            f"{measured}: these residuals cannot tell which candidates it saw, and no probability "
            "is given."
        ]
    return [
        f"{measured}.",
        _positives_in_words(attributes),
        f"At most {100 * attributes['unseen_share_at_most']:.0f} % of the candidates look as if "
        "the model had not seen them. The probability is "
        f"{100 * attributes['seen_mean_of_candidates']:.0f} % on average, and would be "
        f"{100 * attributes['seen_mean_of_held_out']:.0f} % for held-out images.",
        "All of it holds only if held-out images were drawn at random from what the candidates "
        "were drawn from: of others, the model may be more wrong for that reason alone.",
        "An image that the model saw and did not learn looks unseen, and an easy one that it did "
        "not see looks seen: this is a probability over many images, no proof about one.",
    ]


def _positives_in_words(attributes: Mapping[str, Any]) -> str:
    if "seen_positives" not in attributes:
        return "How many could be told with 1 % false positives takes 200 held-out images to say."
    share, error = attributes["seen_positives"], attributes["seen_positives_error"]
    return (
        f"{100 * share:.0f} +- {100 * error:.0f} % of the candidates have a smaller residual than "
        "all but 1 % of unseen images."
    )


def _tells(area: float, error: float) -> bool:
    return area - _SURE * error > 0.5


def _refuse_too_few(candidates: Residuals, held_out: Residuals) -> None:
    if len(held_out) < FEWEST_HELD_OUT:
        raise InputError(
            f"{len(held_out)} held-out images are too few to tell anything",
            where="--held-out",
            remedy=f"give at least {FEWEST_HELD_OUT}, better 200 or more",
        )
    if len(candidates) < 2:
        raise InputError(
            "no two candidates have a residual",
            where="--residuals",
            remedy="give the store of the training images' residuals",
        )
