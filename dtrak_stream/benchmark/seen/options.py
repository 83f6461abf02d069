"""Every option of the benchmark of what the model saw."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from dtrak_stream.benchmark.lds.options import ChosenQueries
from dtrak_stream.benchmark.model_dependence.options import ModelDependenceConfig
from dtrak_stream.evaluation.retraining.configuration import WorkerOptions
from dtrak_stream.support.option_values import require_number


@dataclass(frozen=True)
class SeenBenchConfig:
    """Measure how well residuals tell what a model was trained on, and what --seen does to scores.

    Two models are trained on the two halves of the digits that come along, by the recipe of the
    digits model: some 4,000 steps. All digits are candidates, so it is known of each whether the
    model saw it; of those that it did not see, random halves serve as held-out images. What --seen
    costs where all candidates were seen is told by the LDS of the full model. What is done is not
    done again: an interrupted run goes on when the same command is given again.
    """

    out: Path = Path("runs/bench/seen")
    """Results: OUT.json and OUT.md. Models, features and scores are kept in OUT.work."""
    halves: Path | None = None
    """--out of dtrak-stream bench model-dependence on the same digits: its models and scores are
    taken, or made there (default: models and scores of this run's own)."""
    methods: tuple[str, ...] = ("best",)
    """Methods whose scores are multiplied."""
    generated: int = 100
    """Images that each of the two models generates: the queries."""
    draws: int = 50
    """Times the held-out images are drawn."""
    subset_seed: int = 0
    """Seed of the halves."""
    seed: int = 0
    """Seed of training."""
    where: tyro.conf.OmitArgPrefixes[WorkerOptions] = field(default_factory=WorkerOptions)
    """Where features are computed. Models are trained by this process."""
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        require_number("--draws", self.draws, 2, 2**16)
        _ = self.of_halves  # checks the rest

    @property
    def work(self) -> Path:
        """Return where features of the full model are kept."""
        return self.out.with_name(self.out.name + ".work")

    @property
    def queries(self) -> ChosenQueries:
        """Return which queries the LDS is of."""
        return "all"

    @property
    def of_halves(self) -> ModelDependenceConfig:
        """Return the options by which models of the halves are made and scored."""
        return ModelDependenceConfig(
            out=self.out if self.halves is None else self.halves,
            methods=self.methods,
            generated=self.generated,
            repeated=0,
            subset_seed=self.subset_seed,
            seed=self.seed,
            where=self.where,
            quiet=self.quiet,
        )
