"""The table of commands: what each is for, and where its options and its function are.

A line is all that a command needs to be there as `dtrak-stream NAME`; modules are named, not
imported, so that one command does not wait for the libraries of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from dtrak_stream.cli.command_line import Outcome
from dtrak_stream.support.late_imports import imported


class Command(NamedTuple):
    """One command: a stage of the package with its options."""

    summary: str
    """What it is for, in one line."""
    configuration: str
    """Where the dataclass of its options is: `module:name`, below this package."""
    function: str
    """Where the function is that takes it: `module:name`, below this package."""
    lists_methods: bool = False
    """Whether `--method list` prints the methods instead of running."""

    def options(self) -> type[Any]:
        """Import the dataclass of its options."""
        options: type[Any] = imported(self.configuration)
        return options

    def stage(self) -> Callable[[Any], Outcome]:
        """Import its function."""
        stage: Callable[[Any], Outcome] = imported(self.function)
        return stage


@dataclass(frozen=True)
class CommandGroup:
    """Several commands under one name.

    Attributes
    ----------
    summary
        What they are for, in one line.
    commands
        Each by its name.
    """

    summary: str
    commands: Mapping[str, Command | CommandGroup]


BENCHMARKS = {
    "append": Command(
        "Measure what appending to a store, and removing from it, costs beside making all anew.",
        "benchmark.append.options:AppendBenchConfig",
        "benchmark.append.run:measure_append",
    ),
    "cluster": Command(
        "Measure how much sooner a Gram matrix is there when workers share it.",
        "benchmark.cluster.options:ClusterBenchConfig",
        "benchmark.cluster.run:measure_cluster",
    ),
    "crashes": Command(
        "Kill the stages at random moments and compare what is left and what comes of it.",
        "benchmark.crashes.options:CrashesConfig",
        "benchmark.crashes.run:measure_crashes",
    ),
    "featurize": Command(
        "Measure per-sample featurizing next to a plain training step and other ways.",
        "benchmark.featurizing.options:FeaturizeBenchConfig",
        "benchmark.featurizing.run:measure_featurize",
    ),
    "kills": Command(
        "Measure what is lost where featurizing is killed again and again.",
        "benchmark.kills.options:KillsConfig",
        "benchmark.kills.run:measure_kills",
    ),
    "listing": Command(
        "Measure listing and ordering a folder of very many images.",
        "benchmark.listing.options:ListingConfig",
        "benchmark.listing.run:measure_listing",
    ),
    "lds": Command(
        "Measure how well scores predict retrained models.",
        "benchmark.lds.options:LdsBenchConfig",
        "benchmark.lds.run:measure_lds",
    ),
    "lora": Command(
        "Measure how well scores of a LoRA predict LoRAs retrained on halves of its images.",
        "benchmark.lora.options:LoraBenchConfig",
        "benchmark.lora.run:measure_lora",
    ),
    "lora-base": Command(
        "Train the small text-to-image model that LoRAs of the benchmark are put on.",
        "benchmark.lora.options:LoraBaseConfig",
        "benchmark.lora.base_model:make_base_model",
    ),
    "main-job": Command(
        "Measure time and memory of the main job, stage by stage.",
        "benchmark.main_job.options:MainJobConfig",
        "benchmark.main_job.run:measure_main_job",
    ),
    "million": Command(
        "Say by plans how long a million 32x32 images would take, method by method.",
        "benchmark.million.options:MillionConfig",
        "benchmark.million.run:measure_million",
    ),
    "model-dependence": Command(
        "Measure whether scores know what the model was trained on.",
        "benchmark.model_dependence.options:ModelDependenceConfig",
        "benchmark.model_dependence.run:measure_model_dependence",
    ),
    "plan": Command(
        "Measure how well a plan foretells the time and memory of a run.",
        "benchmark.foretelling.options:ForetellingConfig",
        "benchmark.foretelling.run:measure_foretelling",
    ),
    "projectors": Command(
        "Measure the error and the speed of random projections.",
        "benchmark.projectors.options:ProjectorsConfig",
        "benchmark.projectors.run:measure_projectors",
    ),
    "recipe": Command(
        "Measure the recipe that D-TRAK was published with, next to best.",
        "benchmark.recipe.options:RecipeConfig",
        "benchmark.recipe.run:measure_recipe",
    ),
    "rerun": Command(
        "Measure what it costs to start a finished main job again.",
        "benchmark.rerun.options:RerunConfig",
        "benchmark.rerun.run:measure_rerun",
    ),
    "scale": Command(
        "Measure Gram matrix and scores of stores of growing size, beside their products.",
        "benchmark.scale.options:ScaleConfig",
        "benchmark.scale.run:measure_scale",
    ),
    "search": Command(
        "Judge recipes, each a sum of streams of features, by retrained models, beside best.",
        "benchmark.search.options:SearchConfig",
        "benchmark.search.run:measure_search",
    ),
    "seen": Command(
        "Measure how well residuals tell what a model saw, and what --seen does to scores.",
        "benchmark.seen.options:SeenBenchConfig",
        "benchmark.seen.run:measure_seen",
    ),
    "size": Command(
        "Measure networks of the size that people fine-tune: seconds an image and memory.",
        "benchmark.size.options:SizeBenchConfig",
        "benchmark.size.run:measure_size",
    ),
    "writers": Command(
        "Measure how much sooner a store is full when several processes fill it.",
        "benchmark.writers.options:WritersConfig",
        "benchmark.writers.run:measure_writers",
    ),
}

COMMANDS: Mapping[str, Command | CommandGroup] = {
    "attribute": Command(
        "The main job: attribute a model's outputs to its training images, end to end.",
        "attribution.configuration:AttributeConfig",
        "attribution.run:attribute",
        lists_methods=True,
    ),
    "plan": Command(
        "Say what a run would take, before it is begun.",
        "planning.options:PlanConfig",
        "planning.run:plan",
        lists_methods=True,
    ),
    "featurize": Command(
        "Compute the features of images and store them.",
        "featurizing.options:FeaturizeConfig",
        "featurizing.run:featurize",
    ),
    "remove": Command(
        "Remove samples from feature stores.",
        "store.removal_options:RemoveConfig",
        "store.removal:remove",
    ),
    "gram": Command(
        "Compute the Gram matrix of a feature store.",
        "gram.options:GramConfig",
        "gram.run:compute_gram",
    ),
    "score": Command(
        "Score training samples for queries from stored features.",
        "scoring.options:ScoreConfig",
        "evaluation.any_method:score_by_any_method",
        lists_methods=True,
    ),
    "report": Command(
        "Write the page that shows each query with its strongest proponents and opponents.",
        "report.options:ReportConfig",
        "report.write:write_report",
    ),
    "verify": Command(
        "Check that everything in a run folder is whole and belongs together.",
        "verification.options:VerifyConfig",
        "verification.run:verify",
    ),
    "import-features": Command(
        "Bring features that another program computed into a store.",
        "exchange.options:ImportConfig",
        "exchange.importing:import_features",
    ),
    "export": Command(
        "Write features or scores for other programs.",
        "exchange.options:ExportConfig",
        "exchange.exporting:export",
    ),
    "train": Command(
        "Train an unconditional diffusion model, from scratch or further.",
        "training.configuration:TrainingConfig",
        "training.run:train",
    ),
    "train-lora": Command(
        "Train a LoRA of a diffusion model on images and their captions.",
        "training.lora_configuration:LoraTrainingConfig",
        "training.lora_run:train_lora",
    ),
    "generate": Command(
        "Generate images from a trained diffusion model.",
        "generation.configuration:GenerationConfig",
        "generation.run:generate",
    ),
    "retrain-subsets": Command(
        "Retrain a model on random subsets of its images and measure the loss of each query.",
        "evaluation.retraining.configuration:RetrainConfig",
        "evaluation.retraining.run:retrain_subsets",
    ),
    "import-truth": Command(
        "Bring losses of retrained models that another program measured into a truth file.",
        "evaluation.imported_truth.configuration:ImportTruthConfig",
        "evaluation.imported_truth.run:import_truth",
    ),
    "lds": Command(
        "Judge scores by retrained models: the linear datamodeling score.",
        "evaluation.lds.configuration:LdsConfig",
        "evaluation.lds.run:lds",
    ),
    "counterfactual": Command(
        "Remove the proponents of generated images, retrain, and generate the images again.",
        "evaluation.counterfactual.configuration:CounterfactualConfig",
        "evaluation.counterfactual.run:counterfactual",
    ),
    "bench": CommandGroup(
        "Measure this package on this machine; each subcommand writes OUT.json and OUT.md.",
        BENCHMARKS,
    ),
}
