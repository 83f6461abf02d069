"""Every option of retraining on subsets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from dtrak_stream.data.query_options import QueryConditionFlags, QueryConditionOptions
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.evaluation.options import LossOptions
from dtrak_stream.model.places import EMBEDDED_MODEL
from dtrak_stream.model.told_options import ToldOptions
from dtrak_stream.support.cluster_options import ClusterOptions
from dtrak_stream.support.option_values import LARGEST_SEED, require_number, require_seed


@dataclass(frozen=True)
class WorkerOptions(ClusterOptions):
    """Where models are trained: each by one process, which trains one at a time."""

    threads: int = 1
    """CPU threads of each process. Results of different numbers of threads differ in the last \
bits."""
    device: str = "auto"
    """Where models run: auto, cpu, cuda, cuda:1 ..."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("--threads", self.threads, 1)
        self.refuse_two_devices(self.device)

    @property
    def first_device(self) -> str:
        """Return where this process computes what it computes itself."""
        return self.device_here(self.device)


@dataclass(frozen=True)
class RetrainConfig:
    """Train the same model on random subsets of its images and measure the loss of each query.

    The models are trained as the full one was: its folder records how. Subset m is the same
    however many are drawn, so a larger --subsets or --seeds adds models to what is there. An
    interrupted run goes on when the same command is given again.
    """

    out: Path
    """Truth file to write (.npz). OUT.work beside it holds the losses of each model."""
    query: tuple[str, ...]
    """Images whose losses are measured: SRC, or NAME=SRC; several sets may follow each other. The
    first is stored as `loss`, the others as `loss_NAME`."""
    query_split: str | None = None
    """Split to read them from where there are several."""
    model: str = EMBEDDED_MODEL
    """Folder of the full model, from dtrak-stream train (or the small model that comes along), or
    of a LoRA, from dtrak-stream train-lora: then LoRAs of the same base are trained."""
    images: str | None = None
    """Where the training images are now, if not where the model's folder says."""
    subsets: int = 32
    """M, the number of subsets."""
    alpha: float = 0.5
    """Share of the training images in each subset."""
    seeds: int = 1
    """S, the number of models trained on each subset; from 2 on the noise ceiling is known."""
    repeated_subsets: int | None = None
    """How many subsets, the first ones, get models of more than the first seed (default: all)."""
    first_seed: int = 0
    """Training seed of the first of them; the others have the next ones."""
    subset_seed: int = 0
    """Seed of the subsets."""
    complements: bool = False
    """Every second subset holds what the one before it leaves out; for halves."""
    stratify: Path | None = None
    """A .npy file with the class of each training image: each subset has its share of each."""
    keep_models: bool = False
    """Keep the models, in OUT.work/models, and not their losses alone."""
    query_conditions: QueryConditionFlags = field(default_factory=QueryConditionOptions)
    """Where captions or labels of queries are."""
    told: tyro.conf.OmitArgPrefixes[ToldOptions] = field(default_factory=ToldOptions)
    """What the base of a LoRA is told besides, where its training does not say it."""
    loss: tyro.conf.OmitArgPrefixes[LossOptions] = field(default_factory=LossOptions)
    """What the loss is."""
    where: tyro.conf.OmitArgPrefixes[WorkerOptions] = field(default_factory=WorkerOptions)
    """Where models are trained."""
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        for flag, value, least in (
            ("--subsets", self.subsets, 1),
            ("--query", len(self.query), 1),
        ):
            if value < least:
                raise ConfigurationError(
                    f"{value} is not supported", where=flag, remedy=f"give {least} or more"
                )
        if self.complements and self.alpha != 0.5:
            raise ConfigurationError(
                f"what a subset of {self.alpha:g} of the images leaves out is no such subset",
                where="--complements",
                remedy="leave --alpha at 0.5, or leave out --complements",
            )
        require_seed(self.first_seed, "--first-seed")
        require_number("--seeds", self.seeds, 1, LARGEST_SEED + 1 - self.first_seed)
        require_seed(self.subset_seed, "--subset-seed")
        require_number("--repeated-subsets", self.repeated_subsets, 1, self.subsets)
        if self.repeated_subsets is not None and self.seeds == 1:
            raise ConfigurationError(
                "no subset gets models of more than the first seed",
                where="--repeated-subsets",
                remedy="give --seeds 2 or more with it",
            )

    @property
    def train_seeds(self) -> range:
        """Return the training seeds."""
        return range(self.first_seed, self.first_seed + self.seeds)

    def subsets_of(self, seed: int) -> int:
        """Return how many subsets, the first ones, get a model of a training seed."""
        if seed == self.first_seed or self.repeated_subsets is None:
            return self.subsets
        return self.repeated_subsets
