"""What the main job refuses, all of it before the first long stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dtrak_stream.attribution.plan import AttributionPlan, ModelPlan
from dtrak_stream.attribution.query_sets import refuse_other_images
from dtrak_stream.attribution.residuals import check_residuals
from dtrak_stream.data.labels import sample_ids_of
from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.places import Place, locate
from dtrak_stream.data.source_stamp import SourceStamps
from dtrak_stream.data.spec import parse_spec
from dtrak_stream.errors import ConfigurationError, FingerprintMismatchError, InputError
from dtrak_stream.features.kinds import number_of_stores
from dtrak_stream.features.names import FOURIER, fourier_inside, is_of_images
from dtrak_stream.features.options import DEFAULT_PROJ_DIM, FeatureOptions, own_or
from dtrak_stream.features.path_features import require_trajectory
from dtrak_stream.featurizing.opening import Identities
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.featurizing.preparation import Prepared, prepare
from dtrak_stream.gram.file import GRAM_FILE, Gram
from dtrak_stream.gram.options import GramConfig
from dtrak_stream.gram.plan import GramPlan, chosen_form, plan_gram
from dtrak_stream.groups.read import read_groups
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.report.made_from import is_unchanged
from dtrak_stream.report.places import refuse_other_report
from dtrak_stream.scoring.halves import refuse_without_halves
from dtrak_stream.scoring.open_terms import checkpoint_weights, refuse_other_queries
from dtrak_stream.scoring.plan import plan_scores, score_work
from dtrak_stream.scoring.scores_layout import SCORES_FILE, Side
from dtrak_stream.scoring.transforms import transform_of
from dtrak_stream.store.layout import JOINED_VIEW
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.store_set import refuse_other_streams, store_folders
from dtrak_stream.support.cluster import connect
from dtrak_stream.support.destinations import can_be_written, require_folder
from dtrak_stream.support.memory import parse_size
from dtrak_stream.support.provenance import RECORD


@dataclass(frozen=True)
class CheckedModel:
    """The jobs that compute one model's features, with nothing to be said against them.

    Attributes
    ----------
    train, query
        Of the training images and of the queries. The model is loaded once for both.
    """

    train: Prepared
    query: Prepared

    @property
    def shape(self) -> ImageShape:
        """Return the shape of the images."""
        return _shape_of(self.train)

    def images_identity(self, side: Side) -> str | None:
        """Return what is known of the images of a side; see `Prepared.images_identity`."""
        job: Prepared = getattr(self, side)
        return job.images_identity()

    def close(self) -> None:
        """Let go of the model."""
        self.train.close()
        self.query.close()

    def pairs(self) -> list[tuple[FeatureStore, FeatureStore]]:
        """Return each training store with its queries; none of them need be finished."""
        layouts = zip(self.train.stores.layouts, self.query.stores.layouts, strict=True)
        return [(FeatureStore(train), FeatureStore(query)) for train, query in layouts]


def check(
    plan: AttributionPlan,
    identities: Identities,
    stamps: SourceStamps,
    denoiser: Denoiser | None = None,
) -> tuple[CheckedModel, ...]:
    """Open every source, model and folder once, and compute nothing.

    Parameters
    ----------
    plan
        What is to be done.
    identities
        Filled with what is found out about the images.
    stamps
        Filled with what their sources look like.
    denoiser
        The model, where it is given instead of named.

    Raises
    ------
    DtrakStreamError
        Whatever a stage would be refused with that can be foreseen.
    """
    refuse_options(plan)
    _refuse_places(plan)
    _refuse_scheduler(plan)
    _refuse_bad_groups(plan)
    models = []
    for model in plan.models:
        models.append(check_model(model, identities, stamps, denoiser))
        if len(plan.models) > 1:  # there may be room for one of them only
            models[-1].close()
    _refuse_later_stages(plan, models)
    if plan.residuals is not None:
        check_residuals(plan.residuals, identities, stamps, denoiser)
    return tuple(models)


def refuse_options(plan: AttributionPlan) -> None:
    """Refuse what no file is needed to refuse.

    Raises
    ------
    ConfigurationError
        If an option of any stage is no such thing.
    """
    method, options = plan.method, plan.config.score_options
    if options.error_bars:
        for model in plan.models:
            _refuse_without_halves(model.train.features)
    transform_of(method, options.transform)
    names = {model.name for model in plan.models}
    checkpoint_weights(method, options.checkpoint_weights, len(names))
    _ = plan.score.groups.chosen  # refuses options that contradict each other
    _refuse_damping_number(plan)


def _refuse_without_halves(features: FeatureOptions) -> None:
    usual = "identity" if is_of_images(features.output_function) else "sketch"
    if fourier_inside(features.output_function) is not None:
        usual = FOURIER
    length = own_or(features.proj_dim, DEFAULT_PROJ_DIM)
    refuse_without_halves(features.projector or usual, length)


def _refuse_damping_number(plan: AttributionPlan) -> None:
    number, dampings = plan.report.report.damping_number, plan.dampings
    count = len(dampings.each) if dampings is not None and dampings.several else 0
    if number is not None and not 0 <= number < count:
        raise ConfigurationError(
            f"scores are for a list of {count} dampings" if count else "there is one damping only",
            where=f"--damping-number {number}",
            remedy=f"choose one, from 0 to {count - 1}" if count else "leave it out",
        )


def _refuse_places(plan: AttributionPlan) -> None:
    """Refuse sources and paths that are not there, and results that could not be written."""
    config = plan.config
    for source in filter(None, (config.train, plan.report.query, config.held_out)):
        _refuse_among_images(config.run, locate(parse_spec(source).body))
    if plan.method.query_output_function is not None:
        query = plan.models[0].query
        require_trajectory(query.trajectory, query.features, query.model)
    for model in plan.models:
        for job in (model.train, model.query):
            refuse_other_streams(job.store, model.stream_name)
    if not config.run.is_dir():
        require_folder(config.run, flag="--run")
    RECORD.refuse_other(plan.record, flag="--run", kept=True)
    for gram in (gram for model in plan.models for gram in model.grams):
        GRAM_FILE.refuse_other(gram.out, flag="--run", kept=True)
    SCORES_FILE.refuse_other(plan.score.out, flag="--run", kept=True)
    out = plan.report.out
    kept = out.is_dir() and not can_be_written(out) and is_unchanged(plan.report)
    refuse_other_report(out, flag="--run", kept=kept)


def _refuse_among_images(run: Path, source: Place) -> None:
    """Refuse to write pictures into a folder that is searched for images."""
    if source.kind == "folder" and run.resolve().is_relative_to(source.path.resolve()):
        raise InputError(
            f"lies in {source.path}, where the pictures of its report would be images as well",
            where=f"--run {run}",
            remedy="give a place outside of it as --run",
        )


def _refuse_scheduler(plan: AttributionPlan) -> None:
    """Refuse a scheduler that is not there, or has no workers, if it may be needed.

    Whether features are finished is found out later; a joined view says that they were.
    """
    cluster = plan.config.cluster
    jobs = [job for model in plan.models for job in (model.train, model.query)]
    results = [gram.out for model in plan.models for gram in model.grams]
    results += [
        folder / JOINED_VIEW
        for job in jobs
        for folder in store_folders(job.store, number_of_stores(job.features))
    ]
    if cluster.scheduler is not None and not all(result.exists() for result in results):
        with connect(cluster):
            pass


def check_model(
    model: ModelPlan,
    identities: Identities,
    stamps: SourceStamps,
    denoiser: Denoiser | None = None,
) -> CheckedModel:
    """Open what the features of one model are computed of and by; raises as `check`."""
    known = partial(prepare, identities=identities, stamps=stamps, denoiser=denoiser)
    train = known(model.train)
    shape = _shape_of(train)
    try:
        query = known(_of_same_bandwidth(model.query, train), like=shape, beside=train)
    except FingerprintMismatchError as refusal:
        train.close()
        refuse_other_images(refusal)
    _refuse_other_classes(train, query)
    return CheckedModel(train, query)


def _of_same_bandwidth(query: FeaturizeConfig, train: Prepared) -> FeaturizeConfig:
    """Return the job of the queries with the bandwidth that the training images told."""
    return replace(query, features=replace(query.features, bandwidth=train.bandwidth))


def _refuse_other_classes(train: Prepared, query: Prepared) -> None:
    """Refuse labels that stand for one class among training images, another among queries."""
    ours, theirs = train.class_names or (), query.class_names or ()
    for label, (one, other) in enumerate(zip(ours, theirs, strict=False)):
        if one != other:
            raise ConfigurationError(
                f"label {label} is {one!r} among the training images and {other!r} among the "
                "queries",
                where=f"--query {query.config.images}",
                remedy="name all classes in the order of the model's labels with --class-names",
            )


def _shape_of(job: Prepared) -> ImageShape:
    return ImageShape.of_text(job.stores.layouts[0].fingerprint.image_shape)


def _refuse_bad_groups(plan: AttributionPlan) -> None:
    """Read the groups once before anything is computed, which may take days."""
    config, options, images = plan.config, plan.score.groups, plan.config.image_options
    if options.chosen:
        visible = not config.quiet
        ids = sample_ids_of(config.train, images, limit=config.limit, visible=visible)
        limit = parse_size(config.gram_options.memory_limit, flag="--memory-limit")
        read_groups(options, ids, images=images, memory_limit=limit, visible=visible)


def _refuse_later_stages(plan: AttributionPlan, models: Sequence[CheckedModel]) -> None:
    """Plan the Gram matrices and the scores on the stores as they will be."""
    pairs = [pair for model in models for pair in model.pairs()]
    for train, query in pairs:
        refuse_other_queries(plan.method, train, query, query.layout.root)
    grams = [gram for model in plan.models for gram in model.grams]
    cuts = [_gram(gram, train) for gram, (train, _) in zip(grams, pairs, strict=False)]
    options, trains = plan.score.options, [train for train, _ in pairs]
    limit = parse_size(plan.score.memory_limit, flag="--memory-limit")
    work = score_work(plan.method, options, plan.dampings, cuts, trains)
    train, query = max(pairs, key=lambda pair: pair[0].proj_dim)
    plan_scores(train, query, options, work, memory_limit=limit)


def _gram(config: GramConfig, store: FeatureStore) -> Gram | GramPlan:
    """Return the Gram matrix that is there, or how it would be cut with one worker."""
    limit = parse_size(config.options.memory_limit, flag="--memory-limit")
    if not config.out.exists():
        return plan_gram(store, config.options.gram_form, memory_limit=limit, workers=1)
    gram = Gram.open(config.out)
    if gram.is_of_earlier(store):
        return plan_gram(store, config.options.gram_form, memory_limit=limit, workers=1)
    gram.refuse_other(store.layout.state, chosen_form(store, config.options.gram_form))
    return gram
