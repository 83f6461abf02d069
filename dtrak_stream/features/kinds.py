"""Every kind of feature there is, opened from its options: what computes it, and of what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dtrak_stream.data import ImageShape
from dtrak_stream.data.samples import Samples
from dtrak_stream.data.trajectories import TrajectoryFolder, TrajectorySamples
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.features.gradient_features import make_featurizer
from dtrak_stream.features.image_features import IMAGE_FEATURES, make_image_featurizer
from dtrak_stream.features.maker import FeatureMaker
from dtrak_stream.features.options import FeatureOptions, check_options
from dtrak_stream.features.path_features import (
    AVERAGED,
    is_trajectory,
    make_trajectory_featurizer,
    require_trajectory,
)

OpenImages = Callable[[ImageShape | None], Samples]
"""Opens the images in a shape; None for the shape of the first one."""


def open_features(
    model: str,
    options: FeatureOptions,
    trajectory: Path | None,
    open_images: OpenImages,
    *,
    visible: bool = True,
) -> tuple[FeatureMaker, Samples]:
    """Return what computes the features, and what they are computed of.

    Parameters
    ----------
    model
        The diffusion model, for gradients; image features do without one.
    options
        What a feature is.
    trajectory
        Where the sampling paths of the images are, for features along them.
    open_images
        Opens the images.
    visible
        Whether to show progress bars.

    Raises
    ------
    DtrakStreamError
        If the model, the images or an option are refused; see `make_featurizer`,
        `make_trajectory_featurizer` and `make_image_featurizer`.
    """
    check_options(options)
    if is_trajectory(options.output_function):
        folder = TrajectoryFolder(require_trajectory(trajectory, options, model))
        along = make_trajectory_featurizer(model, options, folder)
        images = open_images(along.image_shape)
        return along, TrajectorySamples(images, folder, along.task.timesteps, visible=visible)
    _refuse_trajectory(trajectory)
    if options.output_function in IMAGE_FEATURES:
        images = _images_of_their_own_shape(options.size, open_images)
        return make_image_featurizer(images.shape, options), images
    featurizer = make_featurizer(model, options)
    return featurizer, open_images(featurizer.image_shape)


def _refuse_trajectory(trajectory: Path | None) -> None:
    if trajectory is not None:
        raise ConfigurationError(
            "only features along sampling paths take one",
            where=f"--trajectory {trajectory}",
            remedy=f'leave it out, or use --output-function "{AVERAGED}"',
        )


def _images_of_their_own_shape(size: int | None, open_images: OpenImages) -> Samples:
    images = open_images(None)
    if size is None:
        return images
    return open_images(ImageShape(images.shape.channels, size, size))
