"""An LDS run: every scores file against the truth, then the report."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.evaluation.lds.configuration import LdsConfig
from dtrak_stream.evaluation.lds.estimate import LdsEstimate, NoiseCeiling
from dtrak_stream.evaluation.lds.judge import Judge, Judgement, open_judge, truth_name
from dtrak_stream.evaluation.lds.tables import draw_plot, numbers, per_query_table, report
from dtrak_stream.support.own_files import Job
from dtrak_stream.support.progress import say


@dataclass(frozen=True)
class LdsResult:
    """What came out.

    Attributes
    ----------
    path
        The truth file.
    estimates
        The LDS of each scores file, in the order given; of each lambda where it holds a list.
    report
        What is printed; the last line is the LDS x 100 of the first file with its error.
    quarantined
        Always 0: samples left out are in the report.
    """

    path: Path
    estimates: tuple[LdsEstimate, ...]
    report: str
    quarantined: int = 0


def lds(config: LdsConfig) -> LdsResult:
    """Judge scores by the losses of retrained models.

    Raises
    ------
    InputError, CorruptFileError
        If a file cannot be used, or the files are not about the same samples.
    FingerprintMismatchError
        If scores are of other images than the truth.
    ConfigurationError
        If an option does not fit the truth file, or scores were fitted to what would judge them.
    InputError
        If a file is in the way that was not written for the same truth.
    """
    if not config.scores:
        raise ConfigurationError("names no file", where="--scores", remedy="give a scores.h5")
    judge = open_judge(config)
    job = Job("dtrak-stream lds", truth_name(judge.truth))
    _refuse_other_files(config, job)
    judgements = [each for path in config.scores for each in judge.judge_each(path)]
    ceiling = judge.ceiling()
    for judgement in judgements:
        if not judgement.number:
            _warn_of_shared_noise(judge, judgement)
    _write(config, job, judge, judgements, ceiling)
    estimates = tuple(judgement.estimate for judgement in judgements)
    return LdsResult(config.truth, estimates, "\n".join(report(judge, judgements, ceiling)))


def _refuse_other_files(config: LdsConfig, job: Job) -> None:
    """Refuse files in the way, and one name for two of them, before anything is computed."""
    kind, names = job.kind("a file"), dict[Path, str]()
    for flag in ("json", "csv", "plot"):
        path = getattr(config, flag)
        if path is None:
            continue
        kind.refuse_other(path, flag=f"--{flag}")
        if path.resolve() in names:
            raise ConfigurationError(
                f"is the same file as --{names[path.resolve()]}",
                where=f"--{flag} {path}",
                remedy="give each a name of its own",
            )
        names[path.resolve()] = flag


def _write(
    config: LdsConfig,
    job: Job,
    judge: Judge,
    judgements: list[Judgement],
    ceiling: NoiseCeiling | None,
) -> None:
    """Write what was asked for: all of it, or nothing if one of them is refused."""
    with contextlib.ExitStack() as files:
        if config.json is not None:
            found = json.dumps(numbers(judge, judgements, ceiling), indent=2, sort_keys=True)
            files.enter_context(job.file(config.json)).write_text(found + "\n")
        if config.csv is not None:
            table = per_query_table(judge, judgements, ceiling)
            files.enter_context(job.file(config.csv)).write_bytes(table.encode())
        if config.plot is not None:
            picture = files.enter_context(job.file(config.plot))
            draw_plot(picture, judgements, ceiling, flag=f"--plot {config.plot}")


def _warn_of_shared_noise(judge: Judge, judgement: Judgement) -> None:
    """Say so if the losses were measured with the noise the features were computed with."""
    facts = judge.truth.attributes.get("queries", {}).get(judge.key, {})
    seed = facts.get("loss-seed")
    same = seed is not None and seed == judgement.attributes.get("seed")
    if same and judgement.attributes.get("noise") == "shared":
        say(
            f"note: {judgement.path} was computed with the noise (seed {seed}) that "
            "the losses were measured with, which raises its LDS"
        )
