"""The pixels of a run's training and held-out images, by which neighbours are found."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from dtrak_stream.data.options import ImageShape
from dtrak_stream.features.options import FeatureOptions, used_options
from dtrak_stream.featurizing.options import ExecutionOptions, FeaturizeConfig
from dtrak_stream.scoring.relative_places import PIXELS

_MOST_NUMBERS = 512
"""Numbers of an image up to which all are kept; of more, a sketch of so many tells distances."""


def pixel_job(residuals: FeaturizeConfig, shape: ImageShape) -> FeaturizeConfig:
    """Return the job that keeps the pixels of the images whose residuals another one computes.

    Parameters
    ----------
    residuals
        That job. Pixels lie beside its store, in a folder called as it with `-pixels` after it.
    shape
        The shape that the model takes images in.
    """
    of_model, many = residuals.features, math.prod(dataclasses.astuple(shape)) > _MOST_NUMBERS
    features = FeatureOptions(
        output_function=PIXELS,
        projector="sketch" if many else "identity",
        proj_dim=_MOST_NUMBERS if many else None,
        seed=of_model.seed,
        rows_per_shard=of_model.rows_per_shard,
        device=of_model.device,
    )
    return dataclasses.replace(
        residuals,
        store=pixel_store(residuals),
        features=used_options(features),
        execution=ExecutionOptions(),
        cache_latents=None,
    )


def pixel_store(residuals: FeaturizeConfig) -> Path:
    """Return where the pixels lie of the images whose residuals a job computes."""
    return residuals.store.with_name(f"{residuals.store.name}-pixels")
