"""What the main job refuses before hours of work, and what the method decides."""

from __future__ import annotations

import dataclasses

from dtrak_stream.attribution.configuration import AttributeConfig
from dtrak_stream.attribution.stages import group_options, model_folders, query_features
from dtrak_stream.data.labels import sample_ids_of
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.features.options import own_or
from dtrak_stream.features.path_features import require_trajectory
from dtrak_stream.groups import read_groups
from dtrak_stream.kernel import parse_dampings
from dtrak_stream.methods import (
    NEEDS,
    Needs,
    features_of,
    find_method,
)
from dtrak_stream.scoring.ensemble import checkpoint_weights
from dtrak_stream.scoring.halves import refuse_without_halves
from dtrak_stream.scoring.transforms import transform_of
from dtrak_stream.support.memory import parse_size

_MAKES: tuple[Needs, ...] = ("gradients", "unit-gradients", "trajectory", "pixels", "clip")
_IMAGE_FEATURES: tuple[Needs, ...] = ("pixels", "clip")


def refuse_early(config: AttributeConfig) -> None:
    """Refuse before hours of featurizing what scoring would refuse after them."""
    refuse_options(config)
    if find_method(config.score_options.method).query_output_function is not None:
        model, _ = model_folders(config)[0]
        require_trajectory(config.trajectory, query_features(config), model)


def refuse_options(config: AttributeConfig) -> None:
    """Refuse what no images and no sampling paths are needed to refuse.

    Raises
    ------
    ConfigurationError
        If this job does not make what the method needs, or an option of scoring is no such thing.
    """
    options = config.score_options
    method = find_method(options.method)
    if method.needs not in _MAKES:
        raise ConfigurationError(
            f"{method.name} needs {NEEDS[method.needs]}, which this command does not make",
            where=f"--method {method.name}",
            remedy="make their losses with dtrak-stream retrain-subsets, then score with "
            f"dtrak-stream score --method {method.name} --truth truth.npz",
        )
    if options.error_bars:
        usual = "identity" if method.needs in _IMAGE_FEATURES else "sketch"
        length = own_or(config.features.proj_dim, method.proj_dim)
        refuse_without_halves(config.features.projector or usual, length)
    transform_of(method, options.transform)
    parse_dampings(options.damping)
    checkpoint_weights(method, options.checkpoint_weights, len(model_folders(config)))


def with_method_features(config: AttributeConfig) -> AttributeConfig:
    """Let the method choose what a feature is, where the user did not."""
    method = find_method(config.score_options.method)
    return dataclasses.replace(config, features=features_of(method, config.features))


def refuse_bad_groups(config: AttributeConfig) -> None:
    """Read the groups once before anything is computed, which may take days."""
    options, images = group_options(config), config.image_options
    if options.chosen:
        visible = not config.quiet
        ids = sample_ids_of(config.train, images, limit=config.limit, visible=visible)
        limit = parse_size(config.gram_options.memory_limit, flag="--memory-limit")
        read_groups(options, ids, images=images, memory_limit=limit, visible=visible)
