"""Every option of the main job, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from dtrak_stream.data.condition_options import ConditionFlags, ConditionOptions
from dtrak_stream.data.kinds import SOURCE_HELP
from dtrak_stream.data.options import ImageFlags, ImageOptions
from dtrak_stream.data.query_options import (
    QueryConditionFlags,
    QueryConditionOptions,
    QueryImageFlags,
    QueryImageOptions,
)
from dtrak_stream.data.spec import require_limit
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.featurizing.options import ExecutionOptions
from dtrak_stream.gram.options import GramFlags, GramOptions
from dtrak_stream.groups.options import GroupFlags, GroupOptions
from dtrak_stream.model.places import EMBEDDED_MODEL
from dtrak_stream.report.options import ReportOptions
from dtrak_stream.scoring.options import ScoreFlags, ScoreOptions
from dtrak_stream.support.cluster_options import ClusterFlags, ClusterOptions
from dtrak_stream.support.option_values import own_folders, require_number


@dataclass(frozen=True)
class AttributeConfig:
    """Find out which training images each query image is due to.

    Runs every stage: features of the training images, features of the queries, Gram matrix,
    scores, report. What is already done in the run folder is not done again, and an interrupted
    run goes on where it stopped. Without options, the small model that comes with the package
    explains handwritten digits it was not trained on.
    """

    model: str | tuple[str, ...] = EMBEDDED_MODEL
    """Diffusers pipeline folder with safetensors, checkpoint-N of training, or hf:OWNER/NAME (or \
the small model that comes along); several are an ensemble, or checkpoints for tracincp and gas, \
whose scores are averaged. BASE+LORA is a model with a LoRA of its own, besides those of --lora: \
sd15+run/checkpoint-100 sd15+run/checkpoint-200."""
    train: Annotated[str, tyro.conf.arg(help=f"Images the model was trained on: {SOURCE_HELP}")] = (
        "sklearn:digits[:1000]"
    )
    """Images the model was trained on: any row of the table of kinds of sources."""
    query: str = "sklearn:digits[1000:1016]"
    """Images to explain: generated ones, or any others; sources as for --train. NAME=SRC keeps \
them in RUN/queries/NAME, beside other queries of the same training features."""
    run: Path = field(
        default=Path("runs/attribute"),
        metadata=own_folders("train", "query", "models", "residuals"),
    )
    """Folder for everything this run writes."""
    held_out: str | None = None
    """Images of the same kind that the model did not see, 80 or more: with them, each training \
image gets a probability that the model saw it (--seen), and --damping auto of squared scores \
follows how much more wrong the model is about them. Sources as for --train."""
    neighbours: int = 0
    """Tell what the model saw by residuals relative to those of so many images nearest in pixels, \
such as 20, among training and held-out images (0: by residuals themselves)."""
    trajectory: Path | None = None
    """Sampling paths of the queries, for journey-trak: the folder that dtrak-stream generate \
--save-trajectory wrote."""
    cache_latents: Path | None = field(
        default=None, metadata=own_folders("train", "query", "held-out")
    )
    """Folder that keeps what a model of latents makes of images and captions, for other runs on \
them: train and query in it, or queries/NAME/query. What it takes: see featurize --help."""
    limit: int | None = None
    """Use only the first so many training images."""
    query_limit: int | None = None
    """Use only the first so many queries."""
    query_split: str | None = None
    """Split to read queries from where there are several, as --split is for training images."""
    append: bool = False
    """Append to the run what --train has more than it: its images must be the first ones there,
    unchanged, and the others come last. Gram matrix, scores and page follow."""
    redo_corrupt: bool = False
    """Compute shards again that are truncated or fail their checksum, instead of refusing."""
    rehash: bool = False
    """Read images, models and features again even where no file changed since they were checked."""
    score_options: ScoreFlags = field(default_factory=ScoreOptions)
    features: tyro.conf.OmitArgPrefixes[FeatureOptions] = field(default_factory=FeatureOptions)
    execution: tyro.conf.OmitArgPrefixes[ExecutionOptions] = field(default_factory=ExecutionOptions)
    image_options: ImageFlags = field(default_factory=ImageOptions)
    query_image_options: QueryImageFlags = field(default_factory=QueryImageOptions)
    condition_options: ConditionFlags = field(default_factory=ConditionOptions)
    query_condition_options: QueryConditionFlags = field(default_factory=QueryConditionOptions)
    gram_options: GramFlags = field(default_factory=GramOptions)
    group_options: GroupFlags = field(default_factory=GroupOptions)
    report: tyro.conf.OmitArgPrefixes[ReportOptions] = field(default_factory=ReportOptions)
    cluster: ClusterFlags = field(default_factory=ClusterOptions)
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        require_limit(self.limit)
        require_limit(self.query_limit, flag="--query-limit")
        require_number("--neighbours", self.neighbours, 0)
        self.cluster.refuse_two_devices(self.features.device)

    @property
    def query_images(self) -> ImageOptions:
        """Return how queries are read."""
        return self.query_image_options.over(self.image_options, split=self.query_split)

    @property
    def query_conditions(self) -> ConditionOptions:
        """Return where the captions and labels of queries are."""
        return self.query_condition_options.over(self.condition_options)


@dataclass(frozen=True)
class AttributeResult:
    """Where the results of a run are.

    Attributes
    ----------
    path
        The report's page; the scores file if the images cannot be shown.
    scores
        The scores file.
    quarantined
        Samples of either set without a score.
    seconds
        Time each stage took in this call, by its name.
    """

    path: Path
    scores: Path
    quarantined: int
    seconds: dict[str, float]
