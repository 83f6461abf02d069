"""A method that is a sum of two streams, stores to score with it, and its formula in float64."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtrak_stream.gram.options import GramConfig, GramOptions
from dtrak_stream.gram.run import compute_gram
from dtrak_stream.methods import METHODS, Method, Stream
from dtrak_stream.scoring.options import ScoreConfig, ScoreOptions, ScoreResult
from dtrak_stream.scoring.run import score
from tests.conftest import store_of
from tests.scoring.conftest import formula, whole_numbers

NEAR = Stream("avg", ("avg",), transform="signed-square", scaled=True, name="near")
FAR = Stream("square", ("square", "probe"), weight=0.5, scaled=True, name="far")
SUM = Method(
    *("sum", "S_near / c_near + 1/2 S_far / c_far", "tests", "gradients", (NEAR, FAR)),
    *(True, "none", "two Gram matrices"),
)
TRANSFORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda scores: scores,
    "signed-square": lambda scores: scores * abs(scores),
}

Arrays = Sequence[np.ndarray]


def use(monkeypatch: pytest.MonkeyPatch, method: Method = SUM) -> Method:
    """Let a method be in the table."""
    monkeypatch.setitem(METHODS, method.name, method)
    return method


def reference(
    streams: Sequence[Stream],
    trains: Sequence[Arrays],
    queries: Sequence[Arrays],
    dampings: Sequence[Sequence[float]],
    scales: Sequence[float] | None = None,
) -> np.ndarray:
    """Scores (Q, N): features and lambda of each model of each stream; c over all samples."""
    total = np.zeros((len(queries[0][0]), len(trains[0][0])))
    for number, stream in enumerate(streams):
        models = zip(trains[number], queries[number], dampings[number])
        found = TRANSFORMS[stream.transform](np.mean([formula(*model) for model in models], axis=0))
        scale = scales[number] if scales else np.abs(found).mean()
        total += stream.weight * found / (scale if stream.scaled else 1)
    return total


@dataclass(frozen=True)
class Streams:
    """Stores and Gram matrices of all streams, as a run folder holds them."""

    folder: Path
    models: int = 1

    @property
    def out(self) -> Path:
        return self.folder / "scores.h5"

    def paths(self, what: str) -> tuple[Path, ...]:
        if self.models == 1:
            return (self.folder / what,)
        return tuple(self.folder / str(number) / what for number in range(self.models))

    def config(self, out: Path | None = None, memory_limit: str = "1GiB", **options: Any) -> Any:
        return ScoreConfig(
            train=self.paths("train"),
            query=self.paths("query"),
            gram=self.paths("gram"),
            out=out or self.out,
            options=ScoreOptions(**{"method": "sum", **options}),
            memory_limit=memory_limit,
            quiet=True,
        )

    def score(self, out: Path | None = None, **options: Any) -> ScoreResult:
        return score(self.config(out, **options))

    def with_paths(self, **paths: Any) -> Any:
        return dataclasses.replace(self.config(), **paths)


def streams_of(
    folder: Path,
    trains: Sequence[Arrays],
    queries: Sequence[Arrays],
    forms: Sequence[Any] = ("auto", "auto"),
    **options: Any,
) -> Streams:
    """Write what each model of each stream has: features of training samples and queries."""
    made = Streams(folder, len(trains[0]))
    for stream, of_train, of_query, form in zip((NEAR, FAR), trains, queries, forms):
        own = {"output_function": stream.output_function, **options}
        for root, train, query in zip(made.paths("."), of_train, of_query):
            store_of(root / "train" / stream.name, train, images="train", **own)
            store_of(root / "query" / stream.name, query, images="query", **own)
            gram, form_of = root / "gram" / f"{stream.name}.h5", GramOptions(gram_form=form)
            compute_gram(GramConfig(root / "train" / stream.name, gram, form_of, quiet=True))
    return made


def features(samples: int, seed: int, models: int = 1) -> list[list[np.ndarray]]:
    """Features of each model of both streams, of 64 and of 16 numbers."""
    return [
        [whole_numbers(samples, length, seed + 10 * model + length) for model in range(models)]
        for length in (64, 16)
    ]
