"""Scores fitted to some of the retrained models, judged by the others."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

from dtrak_stream.benchmark.lds.options import LdsBenchConfig
from dtrak_stream.benchmark.lds.rows import Row
from dtrak_stream.benchmark.lds.subjects import QUERY_SETS, Subject
from dtrak_stream.evaluation.lds import LdsConfig, lds
from dtrak_stream.evaluation.lds.estimate import LdsEstimate
from dtrak_stream.evaluation.lds.tables import estimate_numbers
from dtrak_stream.evaluation.subset_scores import SubsetScoreConfig, score_from_subsets
from dtrak_stream.evaluation.truth import TruthFile
from dtrak_stream.support.progress import say

Method = Literal["datamodel", "empirical-influence"]
_FEWEST_MODELS = 10  # two for each fold of the cross-validation
_METHODS: tuple[Method, ...] = ("datamodel", "empirical-influence")


def fitted_rows(config: LdsBenchConfig, subject: Subject) -> list[Row]:
    """Fit to the first half of the subsets and judge by the second; nothing if that is too few."""
    half = len(TruthFile(subject.truth).mask) // 2
    if half < _FEWEST_MODELS:
        say(f"{subject.truth}: too few subsets to fit datamodels to half of them")
        return []
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="lds-") as folder:
        for method in _METHODS:
            for queries in QUERY_SETS:
                out = Path(folder) / f"{method}-{queries}.h5"
                estimate = _fitted_and_judged(config, subject.truth, method, queries, half, out)
                rows.append(
                    {
                        "data": subject.name,
                        "queries": queries,
                        "method": method,
                        "output_function": f"loss of {half} models",
                        "timesteps": 0,
                        "noise": "shared",
                        "proj_dim": 0,
                        "transform": "none",
                        "plain": estimate_numbers(estimate),
                    }
                )
    return rows


def _fitted_and_judged(
    config: LdsBenchConfig, truth: Path, method: Method, queries: str, half: int, out: Path
) -> LdsEstimate:
    fit = SubsetScoreConfig(truth, out, method, queries, f":{half}", top_k=1, quiet=True)
    score_from_subsets(fit)
    judge = LdsConfig((out,), truth, queries, f"{half}:", config.queries, quiet=True)
    (estimate,) = lds(judge).estimates
    return estimate
