"""Scoring: a kernel for each term, then its store once per block of queries, resumably."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from dtrak_stream.data.options import ImageOptions
from dtrak_stream.errors import ConfigurationError, InterruptedRunError
from dtrak_stream.groups.sums import GroupSums, sum_groups
from dtrak_stream.kernel.damping import DampingChoices, parse_dampings
from dtrak_stream.methods import Method, Stream, find_method
from dtrak_stream.scoring.blocks import Products
from dtrak_stream.scoring.file_attributes import (
    identity_of_streams,
    lambda_attributes,
    store_attributes,
)
from dtrak_stream.scoring.halves import refuse_without_halves
from dtrak_stream.scoring.normalisation import NORMALISATIONS
from dtrak_stream.scoring.open_terms import open_terms, refuse_other_samples
from dtrak_stream.scoring.options import ScoreConfig, ScoreResult, used_by
from dtrak_stream.scoring.plan import ScorePlan, plan_scores, score_work
from dtrak_stream.scoring.scorer import Scorer
from dtrak_stream.scoring.scores_layout import SIDES
from dtrak_stream.scoring.seen_images import SeenImages, open_seen
from dtrak_stream.scoring.terms import Terms
from dtrak_stream.scoring.transforms import TRANSFORMS, Transform, streams_of, transform_of
from dtrak_stream.scoring.writer import (
    finished_scores,
    quarantined_in,
    refuse_without_room,
    write_scores,
)
from dtrak_stream.support.checkpoints import Checkpoints
from dtrak_stream.support.claims import alone_with, remove_dead_claim
from dtrak_stream.support.device import device_name, device_of_products
from dtrak_stream.support.memory import parse_size
from dtrak_stream.support.progress import say
from dtrak_stream.support.provenance import record_run


@dataclass(frozen=True)
class ScoreRun:
    """One scoring run, with everything checked that can be before work starts.

    Attributes
    ----------
    config
        What was asked for.
    method, transform
        How features become scores, and what is done to them.
    streams
        The streams of the sum that scores are.
    dampings
        The lambdas; None for a method without a kernel.
    terms
        What scores add up.
    plan
        How the work is cut.
    memory_limit
        Bytes for arrays.
    groups
        What sums scores per group of training samples.
    device
        Where features are multiplied.
    seen
        What residuals tell of the training images; None where they are not given.
    """

    config: ScoreConfig
    method: Method
    transform: Transform
    streams: tuple[Stream, ...]
    dampings: DampingChoices | None
    terms: Terms
    plan: ScorePlan
    memory_limit: int
    groups: GroupSums
    device: torch.device
    seen: SeenImages | None

    def identity(self) -> dict[str, Any]:
        """Return what decides the scores: attributes of the file, and of unfinished work."""
        options = asdict(self.config.options) | {"transform": self.transform.name}
        del options["save_scores"]
        if self.dampings is None:
            options["damping"] = "none"
        return {
            **options,
            "train_fingerprint": ",".join(term.train.layout.state for term in self.terms.each),
            "query_fingerprint": ",".join(term.query.layout.state for term in self.terms.each),
            "has_all_scores": self.plan.save_scores,
            "tf32": self.config.tf32,
            **identity_of_streams(self.streams),
            **self._begun(),
            **self.groups.identity,
            **(self.seen.identity if self.seen else {}),
            **({"freedom_by": "held-out images"} if self.heeds_held_out else {}),
        }

    @property
    def heeds_held_out(self) -> bool:
        """Return whether held-out images tell the rule `auto` what to aim at."""
        if self.seen is None or self.dampings is None:
            return False
        squares = any(TRANSFORMS[stream.transform].heeds_held_out for stream in self.streams)
        return squares and any(choice.kind == "auto" for choice in self.dampings.each)

    def _begun(self) -> dict[str, str]:
        """Return what stores that were changed since were begun as; nothing of all others."""
        sides = {side: [getattr(one, side).layout for one in self.terms.each] for side in SIDES}
        return {
            f"{side}_begun": ",".join(layout.begun for layout in layouts)
            for side, layouts in sides.items()
            if any(layout.begun != layout.state for layout in layouts)
        }

    def cuts(self) -> dict[str, Any]:
        """Return what else unfinished work depends on."""
        forms = [term.gram.form for term in self.terms.each if term.gram]
        return {
            "queries": len(self.plan.queries[0]),
            "rows": len(self.plan.rows[0]),
            "gram_form": ",".join(forms),
            "solver": self.plan.solver,
            "rows_at_a_time": self.plan.rows_at_a_time,
            "device": self.device.type,
            "streams": [stream.name for stream in self.streams],
        }

    def compute(self) -> int:
        """Score what is missing and write the file; return how many blocks that were."""
        config, visible = self.config, not self.config.quiet
        if self.seen is not None:
            self.seen.tell()
            if self.heeds_held_out:
                self.seen.tell_freedom()
        checkpoints = Checkpoints.beside(config.out, self.identity() | self.cuts())
        try:
            terms = self.terms
            if config.options.error_bars:
                terms = terms.with_halves(self.memory_limit, visible=visible)
            scorer = self._scorer(terms)
            refuse_without_room(config.out, scorer, checkpoints)
            computed = scorer.score_missing(checkpoints, visible=visible)
        except KeyboardInterrupt as interrupt:
            progress = f"scored blocks are kept in {checkpoints.folder}"
            raise InterruptedRunError(progress) from interrupt
        attributes = self.identity() | store_attributes(self.terms, config.out)
        attributes["device"] = device_name(self.device)
        attributes |= self.seen.judgement.attributes() if self.seen else {}
        of_lambda = lambda_attributes(scorer, checkpoints)
        write_scores(config.out, scorer, checkpoints, attributes, of_lambda)
        checkpoints.discard()
        return computed

    def _scorer(self, terms: Terms) -> Scorer:
        dampings = self.dampings
        return Scorer(
            terms,
            self.plan,
            self.config.options,
            self.method,
            self.streams,
            choices=dampings.each if dampings else (),
            several=dampings is not None and dampings.several,
            groups=self.groups,
            seen=self.seen,
            freedom=self.seen.freedom if self.seen and self.heeds_held_out else None,
            products=Products(
                self.device,
                self.config.tf32,
                self.plan.rows_at_a_time,
                max(map(len, self.plan.queries)),
            ),
        )


def score(config: ScoreConfig, images: ImageOptions | None = None) -> ScoreResult:
    """Score, or finish what an interrupted run began.

    An existing file of the same run is left as it is, and no feature is read for it; one made with
    other options is replaced when the new one is finished. Of several calls at once, one scores,
    and the others wait for its file; if it dies, another goes on where it stopped. Several models'
    scores are averaged; a transform is applied to the average.

    Parameters
    ----------
    config
        What is scored, and how.
    images
        How the images of `--group-source` were opened, where a column of theirs names groups.

    Raises
    ------
    FingerprintMismatchError
        If the query features, or the Gram matrix, do not belong to the training features, or
        models were given other samples.
    ConfigurationError
        If the method does not take such features or options, or the damping leaves a singular
        matrix.
    MemoryLimitError
        If no plan fits in the memory limit.
    DiskFullError
        If there is no room for the scores.
    InterruptedRunError
        On Ctrl-C. Scored blocks are kept.
    """
    run = prepare(config, images)
    identity = run.identity()
    finished = finished_scores(config.out, identity, told=_nobody)
    if finished is None:
        refuse_other_samples(run.terms)
        Checkpoints.refuse_foreign(config.out)
        quarantined = run.terms.quarantined  # opens every shard, so that damage is told first
        with alone_with(config.out):
            finished = finished_scores(config.out, identity)  # by whoever was waited for
            if finished is None:
                record_run(config.out.with_suffix(".config.yaml"), config)
                return ScoreResult(config.out, run.compute(), quarantined)
    Checkpoints.discard_leftovers(config.out, identity)
    remove_dead_claim(config.out)
    say(f"{config.out}: already complete")
    return ScoreResult(config.out, 0, quarantined_in(finished))


def _nobody(_told: str) -> None:
    """Tell nobody: the file may be another by the time it is looked at again."""


def prepare(config: ScoreConfig, images: ImageOptions | None = None) -> ScoreRun:
    """Open everything, check it, and plan, reading no feature; parameters and errors as `score`."""
    method = find_method(config.options.method)
    _refuse_retrained_subsets(method, config)
    config = used_by(method, config)
    options, device = config.options, device_of_products(config.device, tf32=config.tf32)
    transform = transform_of(method, options.transform)
    streams = streams_of(method, options.transform)
    dampings = parse_dampings(options.damping) if method.uses_kernel else None
    limit = parse_size(config.memory_limit, flag="--memory-limit")
    terms = open_terms(method, config)
    for term in terms.each:
        if options.error_bars:
            refuse_without_halves(term.train.fingerprint.projector, term.train.proj_dim)
        NORMALISATIONS[method.normalisation].refuse_without_residuals(term.train, method.name)
    groups = _group_sums(config, terms, images, limit)
    plan = _plan(config, method, dampings, terms, groups, limit)
    seen = open_seen(config, terms)
    return ScoreRun(
        config, method, transform, streams, dampings, terms, plan, limit, groups, device, seen
    )


def _group_sums(
    config: ScoreConfig, terms: Terms, images: ImageOptions | None, memory_limit: int
) -> GroupSums:
    return sum_groups(
        config.groups,
        terms.first.train,
        lambda: terms.train_usable,
        queries=len(terms.first.query),
        images=images,
        memory_limit=memory_limit,
        visible=not config.quiet,
    )


def _plan(
    config: ScoreConfig,
    method: Method,
    dampings: DampingChoices | None,
    terms: Terms,
    groups: GroupSums,
    memory_limit: int,
) -> ScorePlan:
    grams = [term.gram for term in terms.each if term.gram]
    work = score_work(method, config.options, dampings, grams, [one.train for one in terms.each])
    longest = max(terms.each, key=lambda one: one.train.proj_dim)
    return plan_scores(
        longest.train,
        longest.query,
        config.options,
        work,
        memory_limit=memory_limit,
        group_bytes=(groups.bytes_shared, groups.bytes_per_query),
    )


def _refuse_retrained_subsets(method: Method, config: ScoreConfig) -> None:
    if method.needs == "subsets":
        raise ConfigurationError(
            f"{method.name} is computed from models retrained on random subsets, not from features",
            where=f"--truth {config.truth}" if config.truth else f"--method {method.name}",
            remedy="make their losses with dtrak-stream retrain-subsets, and give the file as "
            "--truth truth.npz",
        )
