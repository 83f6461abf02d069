"""One scores file against the truth: which queries count, and the estimate over them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.errors import ConfigurationError, InputError
from dtrak_stream.evaluation.lds.configuration import LdsConfig, chosen_range
from dtrak_stream.evaluation.lds.estimate import (
    LdsEstimate,
    NoiseCeiling,
    estimate_lds,
    is_constant,
    noise_ceiling,
)
from dtrak_stream.evaluation.lds.predictions import sum_scores
from dtrak_stream.evaluation.lds.same_images import refuse_scores_of_other_images
from dtrak_stream.evaluation.truth import TruthFile
from dtrak_stream.kernel.damping import parse_dampings
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.scoring.scores_layout import FITTED_SUBSETS, FITTED_TO, damping_numbers


@dataclass(frozen=True)
class Judge:
    """The part of a truth file that scores are judged by.

    Attributes
    ----------
    truth
        The file.
    key
        Which set of queries.
    subsets
        Which subsets.
    losses
        (M, Q) of those subsets, all queries.
    chosen
        (Q,) bool: the queries the user asked for.
    config
        The options.
    """

    truth: TruthFile
    key: str
    subsets: slice
    losses: NDArray[np.float64]
    chosen: NDArray[np.bool_]
    config: LdsConfig

    @property
    def unread(self) -> NDArray[np.bool_]:
        """Return which queries (Q,) have no loss under some subset."""
        return np.asarray(np.isnan(self.losses).any(axis=0), dtype=np.bool_)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Return which of the chosen queries (Q,) have losses that can be ranked."""
        return self.chosen & ~self.unread & ~is_constant(self.losses)

    def ceiling(self) -> NoiseCeiling | None:
        """Return the noise ceiling; None if the truth has one seed only."""
        losses = self.truth.loss_of_seeds(self.key)
        return None if losses is None else noise_ceiling(losses[:, self.subsets][:, :, self.known])

    def judge_each(self, path: Path) -> list[Judgement]:
        """Compare one scores file with the truth: for each lambda, if it holds a list of them."""
        return [self.judge(path, damping) for damping in damping_numbers(path)]

    def judge(self, path: Path, damping: int | None = None) -> Judgement:
        """Compare the scores of one file, or of one lambda of its list, with the truth.

        Raises
        ------
        InputError, CorruptFileError
            If the file cannot be used, or no query can be judged.
        FingerprintMismatchError
            If the scores are of other images than the losses.
        ConfigurationError
            If the scores were fitted to the subsets they would be judged by.
        """
        with ScoresFile(path, damping) as scores:
            attributes = _of_lambda(scores.attributes, damping)
            self._refuse_fitted(path, attributes)
            if not damping:  # of a list, all are of the same images
                refuse_scores_of_other_images(scores, self.truth, self.key)
            summed = sum_scores(
                scores, self.truth, self.key, self.subsets, visible=not self.config.quiet
            )
        used = self.known & ~summed.unscored_queries
        if not used.any():
            raise InputError(
                "has no query that can be judged: none has both scores and losses that differ",
                where=path,
                remedy="check quarantine.jsonl of both stores, and the truth file",
            )
        predictions = -summed.sums[:, used]
        notes = {
            "queries": int(used.sum()),
            "queries without a loss": int((self.chosen & self.unread).sum()),
            "queries whose loss is constant (left out)": int(
                (self.chosen & ~self.unread & is_constant(self.losses)).sum()
            ),
            "queries without a score (left out)": int(
                (self.chosen & summed.unscored_queries).sum()
            ),
            "queries whose summed scores are constant (counted as 0)": int(
                is_constant(predictions).sum()
            ),
            "training images without a score (counted as 0)": summed.unscored_train,
        }
        estimate = estimate_lds(predictions, self.losses[:, used], resamples=self.config.resamples)
        return Judgement(path, damping, attributes, estimate, used, notes, summed.reordered)

    def _refuse_fitted(self, path: Path, attributes: dict[str, Any]) -> None:
        if attributes.get(FITTED_TO) != truth_name(self.truth):
            return
        fitted = chosen_range(str(attributes[FITTED_SUBSETS]), len(self.truth.mask), "subsets")
        if fitted.start < self.subsets.stop and self.subsets.start < fitted.stop:
            raise ConfigurationError(
                f"these scores were fitted to subsets {fitted.start}:{fitted.stop} of this truth "
                "file and would be judged by some of them",
                where=path,
                remedy="fit them to fewer (--subsets 0:16) and judge by the rest (--subsets 16:)",
            )


@dataclass(frozen=True)
class Judgement:
    """What came out for one scores file.

    Attributes
    ----------
    path
        The scores file.
    number
        Which lambda of its list was judged; None if it holds no list.
    attributes
        Its attributes.
    estimate
        Its LDS.
    used
        (Q,) bool: the queries of the truth file that count.
    notes
        Numbers of samples, and of those left out and why.
    reordered
        Whether its samples were brought into the truth file's order.
    """

    path: Path
    number: int | None
    attributes: dict[str, Any]
    estimate: LdsEstimate
    used: NDArray[np.bool_]
    notes: dict[str, int]
    reordered: bool

    @property
    def name(self) -> str:
        """Return the file, and which lambda of its list."""
        return str(self.path) if self.number is None else f"{self.path} [{self.number}]"


def _of_lambda(attributes: dict[str, Any], damping: int | None) -> dict[str, Any]:
    """Return the attributes with the one damping of the list that is judged."""
    if damping is None:
        return attributes
    asked = parse_dampings(attributes["damping"]).each[damping]
    return attributes | {"damping": asked.text}


def open_judge(config: LdsConfig) -> Judge:
    """Open the truth file and choose what scores are judged by.

    Raises
    ------
    InputError, CorruptFileError, ConfigurationError
        If the file, the key or the choice cannot be used.
    """
    truth = TruthFile(config.truth)
    key = resolved_key(truth, config.loss_key)
    subsets = chosen_range(config.subsets, len(truth.mask), "--subsets")
    losses = truth.loss(key)[subsets]
    chosen = np.ones(losses.shape[1], dtype=np.bool_)
    if config.queries != "all":
        chosen[config.queries == "even" :: 2] = False
    return Judge(truth, key, subsets, losses, chosen, config)


def resolved_key(truth: TruthFile, given: str) -> str:
    """Return the key of the losses that `given` is, or names."""
    for key, facts in truth.attributes.get("queries", {}).items():
        if given and given == facts.get("name"):
            return str(key)
    return given


def truth_name(truth: TruthFile) -> str:
    """Return what tells one truth from another, however many subsets it has by now."""
    facts = truth.attributes
    keys = ("recipe", "alpha", "subset-seed", "strata")
    return repr([facts.get(key) for key in keys]) if facts else str(truth.path.resolve())
