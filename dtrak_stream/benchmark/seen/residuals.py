"""How wrong a model is about each image, by itself and beside the images nearest to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.benchmark.model_dependence.models import Pool, pixels
from dtrak_stream.benchmark.seen.options import SeenBenchConfig
from dtrak_stream.data.images import open_images
from dtrak_stream.features.names import RESIDUALS
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.scoring.neighbours import relative_at_once
from dtrak_stream.seen.detection import Residuals
from dtrak_stream.seen.judgement import residuals_in
from dtrak_stream.store.reader import FeatureStore

OTHERS = "sklearn:digits[1000:1397]"
"""Digits that no model here saw: they follow in the data set, by other writers."""
POOL, OTHER = "pool", "others"
BY_ITSELF, BESIDE_NEAREST = "by itself", "beside its nearest"
NEAREST = 20
Pixels = NDArray[np.float32]


def residual_store(config: SeenBenchConfig, pool: Pool, model: str, name: str) -> Path:
    """Compute the residuals of the pool, or of the other digits, by a model; return their store."""
    of_pool = name == POOL
    options = pool.training.image_options
    job = FeaturizeConfig(
        pool.training.images if of_pool else OTHERS,
        config.work / "residuals" / f"{Path(model.replace(':', '-')).name}-{name}",
        model,
        limit=pool.training.limit if of_pool else None,
        features=FeatureOptions(output_function=RESIDUALS, device=config.where.first_device),
        image_options=options if of_pool else options.elsewhere(None),
        quiet=config.quiet,
    )
    return featurize(job).path


def residuals_of(config: SeenBenchConfig, pool: Pool, model: str) -> tuple[Residuals, Residuals]:
    """Return the residuals of the pool (N,) and of the other digits (M,)."""
    stores = (residual_store(config, pool, model, name) for name in (POOL, OTHER))
    ours, theirs = (residuals_in(FeatureStore.open(path)) for path in stores)
    return ours, theirs


def all_pixels(config: SeenBenchConfig, pool: Pool) -> tuple[Pixels, Pixels]:
    """Return the pool (N, D) and the other digits (M, D), as the model sees them."""
    options = pool.training.image_options.elsewhere(None)
    others = open_images(OTHERS, pool.images.shape, options, visible=not config.quiet)
    ours, theirs = (pixels(each).reshape(len(each), -1) for each in (pool.images, others))
    return ours, theirs


def kinds(
    ours: Residuals, theirs: Residuals, places: tuple[Pixels, Pixels]
) -> dict[str, tuple[Residuals, Residuals]]:
    """Return residuals of candidates (N,) and held-out images (M,) by kind: plain, and relative.

    `places` (N, D) and (M, D) are where they lie; the nearest are taken among both.
    """
    both = relative_at_once(places, np.concatenate([ours, theirs]), NEAREST)
    return {
        BY_ITSELF: (ours, theirs),
        BESIDE_NEAREST: (both[: len(ours)], both[len(ours) :]),
    }
