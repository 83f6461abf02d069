"""The models of a planned run: the stores each would fill, and how fast."""

from __future__ import annotations

import dataclasses
import re
import time
from dataclasses import dataclass

from dtrak_stream.attribution.plan import AttributionPlan, ModelPlan
from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import CheckLabels, ConditionKind, Samples
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.features.bandwidth import SAMPLED
from dtrak_stream.features.kinds import bytes_to_keep, open_features
from dtrak_stream.features.maker import FeatureMaker
from dtrak_stream.features.names import fourier_inside
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.planning.calibration import (
    FeaturizingSpeed,
    RandomImages,
    measure_featurizing,
)
from dtrak_stream.planning.options import PlanConfig
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.store_set import StoreSet
from dtrak_stream.support.device import choose_device, peak_memory_on

_SOME_BANDWIDTH = 1.0  # no size and no time depends on it, and images to tell it are not there
_SHAPE = re.compile(r"([1-9]\d*)x([1-9]\d*)x([1-9]\d*)")


@dataclass(frozen=True)
class PlannedModel:
    """What one model would fill; none of it exists.

    Attributes
    ----------
    of_model
        Added to the names of its stages; nothing where there is one model and stream only.
    stream
        Name of the stream it is for; nothing where there is one only.
    train, query
        Stores of the training images and of the queries: several of each for probes.
    memory
        Bytes of memory that loading the model and featurizing with it took, besides what the
        process (on a GPU, the device) held before; at least those of the weights.
    speed
        What featurizing a few images took; None if that was not measured.
    begin, cpu_begin
        Seconds until the first image is featurized, by the clock and of the processor: loading,
        trying layer rules, choosing an execution.
    kept
        Bytes on disk of the latents and captions that `--cache-latents` will add.
    """

    of_model: str
    stream: str
    train: tuple[FeatureStore, ...]
    query: tuple[FeatureStore, ...]
    memory: int
    speed: FeaturizingSpeed | None
    begin: float
    cpu_begin: float
    kept: int


def plan_model(
    config: PlanConfig, job: AttributionPlan, model: ModelPlan, denoiser: Denoiser | None = None
) -> PlannedModel:
    """Load a model as a run would, look at what its features are, and let go of it.

    Queries along a sampling path are planned as any others: their features are as long, and cost
    as much for each timestep.

    Parameters
    ----------
    config
        How many images, of which shape, and how many are measured.
    job
        The run that is planned.
    model
        One of its models.
    denoiser
        That model, where it is given instead of named.

    Raises
    ------
    InputError, ModelError
        If the model cannot be loaded.
    ConfigurationError
        If an option has no such value, or images of this shape are not what the model takes.
    """
    before = peak_memory_on(choose_device(model.train.features.device))
    seconds, cpu_seconds = time.perf_counter(), time.process_time()

    def images(
        shape: ImageShape | None, kind: ConditionKind, _: CheckLabels | None
    ) -> RandomImages:
        known = shape or _shape_of_images(config, job, model.train.features)
        return RandomImages(config.train_samples, known, kind)

    named_or_given = model.train.model if denoiser is None else denoiser
    features = model.train.features
    maker, train = open_features(
        named_or_given, features, None, images, visible=True, bandwidth=_SOME_BANDWIDTH
    )
    _refuse_other_shape(config, maker.wanted_shape)
    seconds, cpu_seconds = time.perf_counter() - seconds, time.process_time() - cpu_seconds
    query = RandomImages(config.query_samples, train.shape, maker.conditioned_on)
    kept = sum(
        bytes_to_keep(maker, job.cache_latents, samples)
        for job, samples in ((model.train, train), (model.query, query))
        if job.cache_latents is not None
    )
    speed = _speed(config, model.train, maker, train)
    looked_at = _images_looked_at(features, config.train_samples)
    grown = peak_memory_on(maker.device) - before  # nothing where a model before took more
    return PlannedModel(
        f" of {model.title}" if model.title else "",
        model.stream_name,
        _stores(model.train, maker, train),
        _stores(dataclasses.replace(model.train, store=model.query.store), maker, query),
        max(grown, maker.weight_bytes + (speed.memory if speed else 0)),
        speed,
        seconds + (speed.begin + looked_at / speed.images_per_second if speed else 0),
        cpu_seconds + (speed.cpu_begin + looked_at / speed.images_per_cpu_second if speed else 0),
        kept,
    )


def _images_looked_at(features: FeatureOptions, samples: int) -> int:
    """Return how many images are featurized to tell the bandwidth, besides all of them."""
    is_told = fourier_inside(features.output_function) is None or features.bandwidth is not None
    return 0 if is_told else min(SAMPLED, samples)


def _stores(
    job: FeaturizeConfig, maker: FeatureMaker, samples: Samples
) -> tuple[FeatureStore, ...]:
    """Return the stores as they would be."""
    options = job.features
    fingerprints = maker.fingerprints(samples, options.dtype, options.rows_per_shard)
    return tuple(map(FeatureStore, StoreSet.of(job.store, fingerprints).layouts))


def _speed(
    config: PlanConfig, job: FeaturizeConfig, maker: FeatureMaker, samples: Samples
) -> FeaturizingSpeed | None:
    if not config.measured_images:
        return None
    return measure_featurizing(
        maker,
        samples,
        job.execution,
        images=config.measured_images,
        rows_per_shard=job.features.rows_per_shard,
    )


def _shape_of_images(
    config: PlanConfig, job: AttributionPlan, features: FeatureOptions
) -> ImageShape:
    """Return what the user says, where no model says it."""
    if config.image_shape is None:
        raise ConfigurationError(
            f"the shape of images is not known, and no model tells it for "
            f"{features.output_function} features",
            where=f"--method {job.method.name}",
            remedy="give their channels, height and width, such as --image-shape 3x32x32",
        )
    match = _SHAPE.fullmatch(config.image_shape)
    if match is None:
        raise ConfigurationError(
            "not a shape",
            where=f"--image-shape {config.image_shape}",
            remedy="write channels x height x width, such as 3x32x32",
        )
    return ImageShape(*map(int, match.groups()))


def _refuse_other_shape(config: PlanConfig, wanted: ImageShape | None) -> None:
    if config.image_shape is not None and config.image_shape != str(wanted or config.image_shape):
        raise ConfigurationError(
            f"the model wants {wanted}",
            where=f"--image-shape {config.image_shape}",
            remedy="give images of that shape, or let a run fit them with --image-fit and "
            "--channels convert",
        )
