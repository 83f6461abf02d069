"""The residuals of a run: of its training images and of images that the model did not see.

They come first: they cost forward passes alone, and where they cannot tell what scores are to
depend on, that is refused before gradients are computed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from dtrak_stream.attribution.configuration import AttributeConfig
from dtrak_stream.attribution.neighbour_pixels import pixel_job, pixel_store
from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.query_options import QueryConditionOptions, QueryImageOptions
from dtrak_stream.data.source_stamp import SourceStamps
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.features.names import RESIDUALS
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.featurizing.opening import Identities
from dtrak_stream.featurizing.options import ExecutionOptions, FeaturizeConfig
from dtrak_stream.featurizing.preparation import prepare
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.scoring.options import ScoreConfig, SeenMode
from dtrak_stream.scoring.relative_places import open_places, refuse_too_many, relative_to
from dtrak_stream.scoring.seen_images import SeenImages
from dtrak_stream.seen.judgement import refuse_other_residuals
from dtrak_stream.store.reader import FeatureStore

RESIDUALS_FOLDER = "residuals"


@dataclass(frozen=True)
class ResidualPlan:
    """What residuals are computed of.

    Attributes
    ----------
    candidates, held_out
        The training images, and images that the model did not see.
    mode
        What scores make of them.
    neighbours
        How many of the nearest images they are taken relative to; 0: of none.
    """

    candidates: FeaturizeConfig
    held_out: FeaturizeConfig
    mode: SeenMode
    neighbours: int = 0

    @property
    def jobs(self) -> tuple[FeaturizeConfig, FeaturizeConfig]:
        """Return both jobs."""
        return self.candidates, self.held_out

    @property
    def stores(self) -> dict[str, Path]:
        """Return where residuals and pixels lie, by the option of scoring that names each."""
        stores = {"residuals": self.candidates.store, "held_out": self.held_out.store}
        if self.neighbours:
            stores["pixels"] = pixel_store(self.candidates)
            stores["held_out_pixels"] = pixel_store(self.held_out)
        return stores


def plan_residuals(config: AttributeConfig, train: FeaturizeConfig) -> ResidualPlan | None:
    """Return what residuals a run computes; None without held-out images.

    Parameters
    ----------
    config
        The run.
    train
        The job of the features of its training images.

    Raises
    ------
    ConfigurationError
        If scores are to depend on what no held-out images tell, or there are several models.
    """
    mode = config.score_options.seen
    if config.held_out is None:
        _refuse_mode(mode)
        _refuse_neighbours(config.neighbours)
        return None
    if not isinstance(config.model, str) and len(config.model) > 1:
        raise ConfigurationError(
            "several models saw images of their own",
            where=f"--held-out {config.held_out}",
            remedy="attribute by one model at a time",
        )
    folder, cache = config.run / RESIDUALS_FOLDER, config.cache_latents
    candidates = dataclasses.replace(
        train,
        store=folder / "train",
        features=_residual_options(config.features),
        execution=ExecutionOptions(),
        cache_latents=cache and cache / "train",
    )
    held_out = dataclasses.replace(
        candidates,
        images=config.held_out,
        store=folder / "held-out",
        limit=None,
        append=False,
        image_options=QueryImageOptions().over(config.image_options, split=None),
        condition_options=QueryConditionOptions().over(config.condition_options),
        cache_latents=cache and cache / "held-out",
    )
    return ResidualPlan(candidates, held_out, mode, config.neighbours)


def check_residuals(
    plan: ResidualPlan,
    identities: Identities,
    stamps: SourceStamps,
    denoiser: Denoiser | None = None,
) -> None:
    """Open what residuals are computed of and by, and let go of it again.

    Raises
    ------
    DtrakStreamError
        Whatever computing or comparing them would be refused with that can be foreseen.
    """
    known = {"identities": identities, "stamps": stamps, "denoiser": denoiser}
    candidates = prepare(plan.candidates, **known)  # type: ignore[arg-type]
    try:
        held_out = prepare(plan.held_out, beside=candidates, **known)  # type: ignore[arg-type]
        held_out.close()
    finally:
        candidates.close()
    stores = [FeatureStore(job.stores.layouts[0]) for job in (candidates, held_out)]
    refuse_other_residuals(*stores)
    if plan.neighbours:
        refuse_too_many(plan.neighbours, len(stores[0]))
        shape = _shape_of(stores[0])
        for job in plan.jobs:
            pixels = pixel_job(job, shape)
            prepare(pixels, like=shape, identities=identities, stamps=stamps).close()


def compute_residuals(
    plan: ResidualPlan,
    scoring: ScoreConfig,
    identities: Identities,
    denoiser: Denoiser | None = None,
) -> None:
    """Bring the stores to completion, and refuse scores that would depend on what cannot be told.

    Parameters
    ----------
    plan, scoring
        What residuals are computed of, and what scoring is asked for with them.
    identities, denoiser
        As for `featurize`.

    Raises
    ------
    DtrakStreamError
        Whatever `featurize`, `relative_to` and `SeenImages.judgement` raise.
    """
    # the checks have read everything again
    jobs = [dataclasses.replace(job, rehash=False) for job in plan.jobs]
    for job in jobs:
        featurize(job, identities=identities, denoiser=denoiser)
    candidates, held_out = (FeatureStore.open(job.store) for job in jobs)
    if plan.neighbours:
        shape = _shape_of(candidates)
        for job in jobs:
            featurize(pixel_job(job, shape), like=shape, identities=identities)
    places = open_places(scoring)
    relative = relative_to(scoring, (candidates, held_out), places) if places else None
    _ = SeenImages(candidates, held_out, plan.mode, relative).judgement


def _shape_of(store: FeatureStore) -> ImageShape:
    return ImageShape.of_text(store.fingerprint.image_shape)


def _refuse_neighbours(count: int) -> None:
    if count:
        raise ConfigurationError(
            "neighbours are those whose residuals others are taken relative to",
            where=f"--neighbours {count}",
            remedy="give images that the model did not see as --held-out SRC, or leave it out",
        )


def _refuse_mode(mode: SeenMode) -> None:
    if mode != "off":
        raise ConfigurationError(
            "which images the model saw is told by others of the same kind that it did not see",
            where=f"--seen {mode}",
            remedy="give those, 80 or more, as --held-out SRC",
        )


def _residual_options(features: FeatureOptions) -> FeatureOptions:
    """Return what residuals are, by the model that features are computed by."""
    usual = FeatureOptions()
    return dataclasses.replace(
        features,
        output_function=RESIDUALS,
        timesteps=usual.timesteps,
        noise=usual.noise,
        noise_draws=usual.noise_draws,
        timestep_weights=usual.timestep_weights,
        parameters=usual.parameters,
        projector=usual.projector,
        proj_dim=usual.proj_dim,
        bandwidth=usual.bandwidth,
    )
