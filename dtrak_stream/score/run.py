"""Scoring: kernel once, then the training store once per block of queries, resumably."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tyro

from dtrak_stream.checkpoints import Checkpoints
from dtrak_stream.data import ImageOptions
from dtrak_stream.errors import ConfigurationError, InterruptedRunError
from dtrak_stream.gram import gram_size, read_gram, refuse_other_gram
from dtrak_stream.groups import GroupOptions, GroupSums, sum_groups
from dtrak_stream.memory import parse_size
from dtrak_stream.methods import find_method, refuse_other_output_function
from dtrak_stream.progress import say
from dtrak_stream.provenance import record_run
from dtrak_stream.score.file import (
    is_scored,
    refuse_without_room,
    store_attributes,
    write_scores,
)
from dtrak_stream.score.kernel_choice import make_kernel
from dtrak_stream.score.options import ScoreOptions
from dtrak_stream.score.plan import ScorePlan, plan_scores
from dtrak_stream.score.scorer import Scorer
from dtrak_stream.store import FeatureStore


@dataclass(frozen=True)
class ScoreConfig:
    """Score every training sample for every query, from stored features, resumably."""

    train: Path
    """Feature store of the training images."""
    query: Path
    """Feature store of the queries."""
    gram: Path
    """Gram matrix of the training store (tools/gram.py)."""
    out: Path
    """HDF5 file to write."""
    options: tyro.conf.OmitArgPrefixes[ScoreOptions] = field(default_factory=ScoreOptions)
    memory_limit: str = "4GiB"
    """Memory for arrays."""
    quiet: bool = False
    """Draw no progress bars."""
    groups: tyro.conf.OmitArgPrefixes[GroupOptions] = field(default_factory=GroupOptions)


@dataclass(frozen=True)
class ScoreResult:
    """What scoring did.

    Attributes
    ----------
    path
        The HDF5 file.
    computed
        Number of blocks scored by this call; 0 if the file was already there.
    quarantined
        Samples of either store that have no scores.
    """

    path: Path
    computed: int
    quarantined: int


def score(config: ScoreConfig, images: ImageOptions | None = None) -> ScoreResult:
    """Score, or finish what an interrupted run began.

    An existing file of the same run is left as it is; one made with other options is replaced
    when the new one is finished.

    Parameters
    ----------
    config
        What is scored, and how.
    images
        How the images of `--group-source` were opened, where a column of theirs names groups.

    Raises
    ------
    FingerprintMismatchError
        If the query features, or the Gram matrix, do not belong to the training features.
    ConfigurationError
        If the method does not take such features, or the damping leaves a singular matrix.
    MemoryLimitError
        If no plan fits in the memory limit.
    DiskFullError
        If there is no room for the scores.
    InterruptedRunError
        On Ctrl-C. Scored blocks are kept.
    """
    train, query = FeatureStore.open(config.train), FeatureStore.open(config.query)
    _refuse_what_does_not_fit_together(train, query, config)
    limit = parse_size(config.memory_limit, flag="--memory-limit")
    groups = _group_sums(train, query, config, images, limit)
    plan = plan_scores(
        train,
        query,
        config.options,
        gram_size=gram_size(config.gram),
        memory_limit=limit,
        group_bytes=(groups.bytes_shared, groups.bytes_per_query),
    )
    identity = _identity(train, query, config, plan) | groups.identity
    bad = int((~train.usable()).sum() + (~query.usable()).sum())
    if is_scored(config.out, identity):
        Checkpoints.discard_leftovers(config.out, identity)
        say(f"{config.out}: already complete")
        return ScoreResult(config.out, 0, bad)
    record_run(config.out.with_suffix(".config.yaml"), config)
    computed = _compute(Scorer(train, query, plan, config.options, groups), config, identity)
    return ScoreResult(config.out, computed, bad)


def _group_sums(
    train: FeatureStore,
    query: FeatureStore,
    config: ScoreConfig,
    images: ImageOptions | None,
    memory_limit: int,
) -> GroupSums:
    return sum_groups(
        config.groups,
        train,
        queries=len(query),
        images=images,
        memory_limit=memory_limit,
        visible=not config.quiet,
    )


def _refuse_what_does_not_fit_together(
    train: FeatureStore, query: FeatureStore, config: ScoreConfig
) -> None:
    method = find_method(config.options.method)
    refuse_other_output_function(method, train.fingerprint.output_function)
    train.fingerprint.refuse_other_features(query.fingerprint, where=config.query)
    refuse_other_gram(config.gram, train.fingerprint.hash())
    if config.options.top_k < 1:
        raise ConfigurationError(
            "must be at least 1", where=f"--top-k {config.options.top_k}", remedy="use 100"
        )


def _identity(
    train: FeatureStore, query: FeatureStore, config: ScoreConfig, plan: ScorePlan
) -> dict[str, Any]:
    """Return what decides the scores: attributes of the file, and of unfinished work."""
    options = asdict(config.options)
    del options["save_scores"]
    return {
        **options,
        "train_fingerprint": train.fingerprint.hash(),
        "query_fingerprint": query.fingerprint.hash(),
        "has_all_scores": plan.save_scores,
    }


def _compute(scorer: Scorer, config: ScoreConfig, identity: dict[str, Any]) -> int:
    kernel = make_kernel(read_gram(config.gram), scorer.train, config.options)
    say(kernel.description)
    cuts = {"queries": len(scorer.plan.queries[0]), "shards": len(scorer.plan.shards[0])}
    checkpoints = Checkpoints.beside(config.out, identity | cuts | {"gram_form": kernel.form})
    refuse_without_room(config.out, scorer, checkpoints)
    try:
        computed = scorer.score_missing(kernel, checkpoints, visible=not config.quiet)
    except KeyboardInterrupt as interrupt:
        progress = f"scored blocks are kept in {checkpoints.folder}"
        raise InterruptedRunError(progress) from interrupt
    attributes = identity | kernel.attributes | store_attributes(scorer.train, scorer.query)
    write_scores(config.out, scorer, checkpoints, attributes)
    checkpoints.discard()
    return computed
