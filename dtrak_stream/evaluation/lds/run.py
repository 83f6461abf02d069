"""An LDS run: every scores file against the truth, then the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.evaluation.lds.configuration import LdsConfig
from dtrak_stream.evaluation.lds.estimate import LdsEstimate
from dtrak_stream.evaluation.lds.judge import Judge, Judgement, open_judge
from dtrak_stream.evaluation.lds.tables import draw_plot, numbers, per_query_table, report
from dtrak_stream.support.durable import write_bytes, write_json
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
    """
    if not config.scores:
        raise ConfigurationError("names no file", where="--scores", remedy="give a scores.h5")
    judge = open_judge(config)
    judgements = [each for path in config.scores for each in judge.judge_each(path)]
    ceiling = judge.ceiling()
    for judgement in judgements:
        if not judgement.number:
            _warn_of_shared_noise(judge, judgement)
    if config.json is not None:
        write_json(config.json, numbers(judge, judgements, ceiling))
    if config.csv is not None:
        write_bytes(config.csv, per_query_table(judge, judgements, ceiling).encode())
    if config.plot is not None:
        draw_plot(config.plot, judgements, ceiling)
    estimates = tuple(judgement.estimate for judgement in judgements)
    return LdsResult(config.truth, estimates, "\n".join(report(judge, judgements, ceiling)))


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
