"""What is told of a truth beside what is judged by it: its size, and how far its seeds agree."""

from __future__ import annotations

from typing import Any

from dtrak_stream.benchmark.lds.options import ChosenQueries
from dtrak_stream.benchmark.lds.subjects import QUERY_SETS, Subject
from dtrak_stream.evaluation.lds.configuration import LdsConfig
from dtrak_stream.evaluation.lds.judge import open_judge


def truth_numbers(subject: Subject, chosen: ChosenQueries) -> dict[str, Any]:
    """Return how many models and queries a truth has, and how far its seeds agree."""
    found: dict[str, Any] = {}
    for queries in QUERY_SETS:
        judge = open_judge(LdsConfig((), subject.truth, queries, queries=chosen))
        ceiling = judge.ceiling()
        found[queries] = {
            "subsets": len(judge.losses),
            "queries": int(judge.known.sum()),
            "seeds": 1 if ceiling is None else ceiling.seeds,
            "repeated_subsets": 0 if ceiling is None else ceiling.subsets,
            "seed_agreement": ceiling and ceiling.agreement,
            "noise_ceiling": ceiling and ceiling.ceiling,
        }
    return found


def truth_line(truth: dict[str, Any]) -> str:
    """Return the same in a line for the page."""
    words = []
    for queries, facts in truth.items():
        text = f"{queries}: {facts['queries']} queries, {facts['subsets']} subsets"
        if facts["noise_ceiling"] is not None:
            text += (
                f", {facts['repeated_subsets']} of them with {facts['seeds']} seeds that agree "
                f"with a Spearman of {facts['seed_agreement']:.3f}: "
                f"noise ceiling {100 * facts['noise_ceiling']:.1f}"
            )
        words.append(text)
    return "; ".join(words)
