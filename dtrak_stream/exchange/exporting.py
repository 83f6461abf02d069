"""From a store or a scores file to a file for other programs, block by block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from dtrak_stream.errors import ConfigurationError, InterruptedRunError
from dtrak_stream.exchange.array_writers import ARRAY_SUFFIXES, file_size, write_rows
from dtrak_stream.exchange.exported_features import ExportedFeatures
from dtrak_stream.exchange.exported_scores import ExportedScores
from dtrak_stream.exchange.options import ExportConfig, ExportResult
from dtrak_stream.exchange.ranking_table import write_rankings
from dtrak_stream.scoring.removed_since import refuse_removed_since
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.shard import FloatArray
from dtrak_stream.support.destinations import refuse_without_room
from dtrak_stream.support.own_files import Job
from dtrak_stream.support.progress import progress, say

_TABLE = ".csv"
_FRAMED = ".fvecs"


def export(config: ExportConfig) -> ExportResult:
    """Write features or scores, or rankings, to `out`; an earlier export of them is replaced.

    Raises
    ------
    ConfigurationError
        If not exactly one of store and scores is given, or the format cannot hold it.
    InputError
        If what is exported cannot be read, or holds rankings only where scores are wanted, or
        scores of samples that were removed since; or files are in the way that are no export of
        the same.
    CorruptFileError
        If a shard is damaged.
    DiskFullError
        If there is no room.
    InterruptedRunError
        On Ctrl-C. Nothing is left under the name of any file.
    """
    _check(config)
    try:
        left_out = _export(config)
    except KeyboardInterrupt as interrupt:
        raise InterruptedRunError(f"{config.out} is not written") from interrupt
    if left_out:
        done = "left out" if config.quarantined == "skip" else "NaN"
        say(f"{config.out}: {left_out:,} quarantined samples are {done}")
    return ExportResult(config.out, left_out)


def _export(config: ExportConfig) -> int:
    skip, visible = config.quarantined == "skip", not config.quiet
    if config.store is not None:
        features = ExportedFeatures(FeatureStore.open(config.store), skip=skip)
        return _write_array(features, config.out, visible=visible)
    assert config.scores is not None
    with ScoresFile(config.scores) as scores:
        refuse_removed_since(scores)
        if config.out.suffix == _TABLE:
            return _write_rankings(scores, config)
        return _write_array(ExportedScores(scores, skip=skip), config.out, visible=visible)


def _write_rankings(scores: ScoresFile, config: ExportConfig) -> int:
    job = _job(scores.subject, (config.out,))
    with job.file(config.out) as partial:
        return write_rankings(partial, scores, config.top_k, visible=not config.quiet)


def _write_array(rows: ExportedFeatures | ExportedScores, out: Path, *, visible: bool) -> int:
    beside = rows.beside(out)
    job = _job(rows.subject, (out, *beside))
    refuse_without_room(out, file_size(out, rows.shape))
    with contextlib.ExitStack() as files:  # all of them, or none
        for path, write in beside.items():
            write(files.enter_context(job.file(path)))
        partial, watched = files.enter_context(job.file(out)), _watched(rows, visible=visible)
        write_rows(partial, rows.name, rows.shape, watched, rows.about(), suffix=out.suffix)
    return rows.left_out


def _job(subject: str, paths: Iterable[Path]) -> Job:
    """Return what the files are written for; refuse others that are in their way."""
    job = Job("dtrak-stream export", subject)
    for path in paths:
        job.kind("a file").refuse_other(path, flag="--out")
    return job


def _watched(rows: ExportedFeatures | ExportedScores, *, visible: bool) -> Iterator[FloatArray]:
    with progress(rows.shape[0], description="exporting", unit="row", visible=visible) as bar:
        for block in rows.blocks():
            yield block
            bar.update(len(block))


def _check(config: ExportConfig) -> None:
    if (config.store is None) == (config.scores is None):
        raise ConfigurationError(
            "exactly one of them is exported", where="--store and --scores", remedy="give one"
        )
    suffix = config.out.suffix
    if suffix not in (*ARRAY_SUFFIXES, _TABLE):
        known = ", ".join((*ARRAY_SUFFIXES, _TABLE))
        raise ConfigurationError(
            f"{suffix or 'no suffix'} is no known format",
            where=f"--out {config.out}",
            remedy=f"end the name in one of: {known}",
        )
    problem = _impossible(config)
    if problem:
        raise ConfigurationError(
            problem, where=f"--out {config.out}", remedy="give another suffix, or other options"
        )


def _impossible(config: ExportConfig) -> str:
    suffix = config.out.suffix
    if suffix == _TABLE and config.store is not None:
        return "a csv holds rankings, and a store has none"
    if suffix == _FRAMED and config.scores is not None:
        return "an fvecs file holds features, not scores"
    if suffix == _FRAMED and config.quarantined == "nan":
        return "an index of NaN finds nothing, so fvecs takes --quarantined skip only"
    if config.top_k is not None and suffix != _TABLE:
        return "--top-k is for a csv of rankings"
    return ""
