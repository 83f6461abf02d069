"""The stages of the main job as commands of their own."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtrak_stream.benchmark.main_job.options import MainJobConfig
from dtrak_stream.cli.command_line import EXIT_DONE, EXIT_QUARANTINED
from dtrak_stream.data.images import open_images
from dtrak_stream.errors import InputError
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.gram.options import GramConfig
from dtrak_stream.methods import features_of, find_method
from dtrak_stream.report.options import ReportConfig
from dtrak_stream.scoring.options import ScoreConfig
from dtrak_stream.support.provenance import record_run

_IMPORTS_ALONE = (
    "import sys; from dtrak_stream.cli.commands import COMMANDS; command = COMMANDS[sys.argv[1]]; "
    "command.options(); command.stage()"
)
_LOADS_A_MODEL = "featurize"
_MODEL_IMPORTS = "; from diffusers import DDPMScheduler, UNet2DModel"  # on first use
_LAUNCHER = Path(__file__).with_name("launcher.py")


@dataclass(frozen=True)
class Stage:
    """One stage of the main job.

    Attributes
    ----------
    name
        What the reader calls it.
    tool
        Name of its command.
    config
        Its configuration dataclass.
    images
        Number of images it works on.
    """

    name: str
    tool: str
    config: Any
    images: int

    def command(self, options_file: Path) -> list[str]:
        """Return the command that runs it, having written its options to a YAML file."""
        record_run(options_file, self.config)
        return [sys.executable, "-m", "dtrak_stream", self.tool, "--config", str(options_file)]


def imports_command(tool: str, *, of_models: bool = True) -> list[str]:
    """Return the command that starts Python and imports what a command imports, and no more.

    Packages of models, which are imported when one is loaded, only if `of_models` says so.
    """
    code = _IMPORTS_ALONE + (_MODEL_IMPORTS if of_models and tool == _LOADS_A_MODEL else "")
    return [sys.executable, "-c", code, tool]


def stages_of(config: MainJobConfig, folder: Path) -> tuple[Stage, ...]:
    """Return every stage of a run in `folder`, in order."""
    train, query = folder / "train", folder / "query"
    gram, scores = folder / "gram.h5", folder / "scores.h5"
    report = ReportConfig(
        scores, config.train, config.query, folder / "report", images=config.image_options
    )
    num_train, num_query = count_images(config, config.train), count_images(config, config.query)
    shown = min(num_query, report.report.max_queries or num_query)
    score = ScoreConfig(train, query, gram, scores, config.score_options)
    return (
        Stage("train features", "featurize", featurize_config(config, train), num_train),
        Stage(
            "query features",
            "featurize",
            featurize_config(config, query, images=config.query),
            num_query,
        ),
        Stage("Gram matrix", "gram", GramConfig(train, gram), num_train),
        Stage("scores", "score", score, num_train),
        Stage("report", "report", report, shown),
    )


def featurize_config(
    config: MainJobConfig,
    store: Path,
    *,
    images: str | None = None,
    method: str | None = None,
    limit: int | None = None,
    quiet: bool = True,
) -> FeaturizeConfig:
    """Return how features are computed (default: training images, the chosen method)."""
    return FeaturizeConfig(
        images=images or config.train,
        store=store,
        model=config.model,
        limit=limit,
        features=features_for(config, method or config.score_options.method),
        image_options=config.image_options,
        quiet=quiet,
    )


def features_for(config: MainJobConfig, method_name: str) -> FeatureOptions:
    """Return the feature options with the output function of a method.

    A function that was chosen for the method of the main job is kept for that method alone.
    """
    features = config.features
    if method_name != config.score_options.method:
        features = dataclasses.replace(features, output_function=None)
    return features_of(find_method(method_name), features)


def count_images(config: MainJobConfig, source: str) -> int:
    """Return how many images a source names."""
    return len(open_images(source, None, config.image_options, visible=False))


@dataclass(frozen=True)
class Cost:
    """What one process cost.

    Attributes
    ----------
    seconds
        From its start to its end.
    peak_bytes
        The most memory it held at any time.
    cpu_seconds
        What it had of a processor, however many others wanted one.
    """

    seconds: float
    peak_bytes: int
    cpu_seconds: float = 0.0


def measure_command(command: Sequence[str]) -> Cost:
    """Run a command to its end.

    Raises
    ------
    InputError
        If it fails, with the last line it printed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        cost, log = Path(scratch) / "cost.json", Path(scratch) / "log"
        code = _run([sys.executable, "-I", "-S", str(_LAUNCHER), str(cost), *command], log)
        if code not in (EXIT_DONE, EXIT_QUARANTINED):
            raise _failed(command, code, log.read_text(errors="replace"))
        return Cost(**json.loads(cost.read_text()))


def _run(command: Sequence[str], log: Path) -> int:
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        try:
            return process.wait()
        except BaseException:
            process.terminate()  # the launcher hands it on to the command
            process.wait()
            raise


def _failed(command: Sequence[str], code: int, log: str) -> InputError:
    last = ([line for line in log.splitlines() if line.strip()] or ["it printed nothing"])[-1]
    return InputError(
        f"ended with exit code {code} ({last.strip()})",
        where=" ".join(command[1:]),
        remedy="change what it says, or run that tool by itself to see more",
    )
