"""Every kind of feature there is, opened from its options: what computes it, and of what."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import CheckLabels, ConditionKind, Samples
from dtrak_stream.data.trajectories import TrajectoryFolder, TrajectorySamples
from dtrak_stream.errors import ConfigurationError, DiskFullError
from dtrak_stream.features.activation_featurizer import ActivationFeaturizer
from dtrak_stream.features.activations import open_activations
from dtrak_stream.features.gradient_features import make_featurizer
from dtrak_stream.features.gradient_featurizer import Featurizer
from dtrak_stream.features.image_features import make_image_featurizer
from dtrak_stream.features.image_featurizer import ImageFeaturizer
from dtrak_stream.features.kept_latents import KeptLatents
from dtrak_stream.features.kept_prompts import KeptPrompts, with_kept_prompts
from dtrak_stream.features.kept_record import FLAG
from dtrak_stream.features.maker import FeatureMaker
from dtrak_stream.features.names import RESIDUALS, is_of_images, layer_inside, vector_of
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.features.path_features import (
    AVERAGED,
    is_trajectory,
    make_trajectory_featurizer,
    require_trajectory,
)
from dtrak_stream.features.residual_features import make_residual_featurizer
from dtrak_stream.features.undecoded import UndecodedSamples, kept_origins
from dtrak_stream.model.base_and_lora import base_and_lora
from dtrak_stream.model.captions import Captions
from dtrak_stream.model.conditioning import Conditioner
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.first_stage import FirstStage
from dtrak_stream.model.layout import deciding_files
from dtrak_stream.model.lora_files import configuration_of, find_lora
from dtrak_stream.model.places import HUB, hub_name, model_root
from dtrak_stream.objective.probes import probe_names
from dtrak_stream.support.destinations import refuse_without_room
from dtrak_stream.support.progress import say
from dtrak_stream.support.stamps import Stamping

Reading = TypeVar("Reading", Featurizer, ActivationFeaturizer)
"""What asks a diffusion model."""
OpenImages = Callable[[ImageShape | None, ConditionKind, CheckLabels | None], Samples]
"""Opens the images in a shape (None for the shape of the first one), with what they are of, which
is refused where the third says so."""


def open_features(
    model: str | Denoiser,
    options: FeatureOptions,
    trajectory: Path | None,
    open_images: OpenImages,
    *,
    visible: bool = True,
    opened: FeatureMaker | None = None,
    cache_latents: Path | None = None,
    bandwidth: float | None = None,
) -> tuple[FeatureMaker, Samples]:
    """Return what computes the features, and what they are computed of.

    Of a diffusion model that is loaded, one line tells what was found in its folder.

    Parameters
    ----------
    model
        The diffusion model, for gradients: its name, or itself. Image features do without one.
    options
        What a feature is.
    trajectory
        Where the sampling paths of the images are, for features along them.
    open_images
        Opens the images.
    visible
        Whether to show progress bars; that line is said in any case.
    opened
        What computes features of the same model and options for other images, where that was
        opened before: it is taken again if it can be, and nothing is loaded.
    cache_latents
        Where latents of these images and embeddings of their captions are kept, for a model of
        latents.
    bandwidth
        That of random Fourier features, where it was found before; left out, and where `options`
        have none, the images tell it.

    Raises
    ------
    DtrakStreamError
        If the model, the images or an option are refused; see `make_featurizer`,
        `make_trajectory_featurizer`, `make_image_featurizer`, `make_residual_featurizer` and
        `kept_on_disk`.
    """
    if is_trajectory(options.output_function):
        _refuse_cache(cache_latents, "features along sampling paths have no latents")
        folder = TrajectoryFolder(require_trajectory(trajectory, options, _name(model)))
        along = _told(make_trajectory_featurizer(model, options, folder))
        images = open_images(*_wanted(along))
        return along, TrajectorySamples(images, folder, along.task.timesteps, visible=visible)
    _refuse_trajectory(trajectory)
    if is_of_images(options.output_function):
        _refuse_cache(cache_latents, f"{options.output_function} features have no latents")
        images = _images_of_their_own_shape(options.size, open_images)
        found = options.bandwidth or bandwidth
        if isinstance(opened, ImageFeaturizer) and opened.serves(images.shape, found):
            return opened, images
        maker = make_image_featurizer(images, options, bandwidth=bandwidth, visible=visible)
        return maker, images
    if layer_inside(options.output_function) is not None:
        return _open_activations(
            model, options, open_images, opened, cache_latents, bandwidth, visible=visible
        )
    if isinstance(opened, Featurizer):
        featurizer = opened
    else:
        is_residual = options.output_function == RESIDUALS
        make = make_residual_featurizer if is_residual else make_featurizer
        featurizer = _told(make(model, options))
    images = open_images(*_wanted(featurizer))
    return _with_cache(featurizer, cache_latents, images)


def _open_activations(
    model: str | Denoiser,
    options: FeatureOptions,
    open_images: OpenImages,
    opened: FeatureMaker | None,
    cache_latents: Path | None,
    bandwidth: float | None,
    *,
    visible: bool,
) -> tuple[ActivationFeaturizer, Samples]:
    """Return what computes activations, and what they are computed of; see `open_features`."""
    reopened = opened if isinstance(opened, ActivationFeaturizer) else None
    bare = reopened or _told(ActivationFeaturizer(open_activations(model, options), options))
    images = open_images(*_wanted(bare))
    maker, samples = _with_cache(bare, cache_latents, images)
    if reopened is not None and reopened.serves(options.bandwidth or bandwidth):
        return maker, samples
    return maker.with_rows(samples, bandwidth, visible=visible), samples


def _name(model: str | Denoiser) -> str:
    return model if isinstance(model, str) else model.class_name


def _with_cache(maker: Reading, folder: Path | None, images: Samples) -> tuple[Reading, Samples]:
    """Return what computes the same features, and reads latents and embeddings from a folder.

    Jobs of other images may share the maker, so it is left as it is.
    """
    if folder is None:
        return (maker if maker.first_stage is None else maker.reading(None, None)), images
    own = maker.denoiser
    if own.first_stage is None:
        _refuse_cache(folder, "the model has no latents: it is trained on the images themselves")
        return maker, images
    kept, conditioner = kept_on_disk(own.first_stage, own.conditioner, folder, images)
    cached = maker.reading(kept, conditioner)
    is_told = isinstance(conditioner, Captions) and conditioner.of_origins is not None
    return cached, UndecodedSamples(images, kept, kept_origins(folder) if is_told else None)


def kept_on_disk(
    first_stage: FirstStage, conditioner: Conditioner | None, folder: Path, images: Samples
) -> tuple[KeptLatents, Conditioner | None]:
    """Return what makes latents and inputs of a model, each once for all featurizations.

    Parameters
    ----------
    first_stage, conditioner
        Those of the model.
    folder
        Where latents, and embeddings of captions, are kept.
    images
        The images.

    Raises
    ------
    InputError, CorruptFileError, FingerprintMismatchError
        If the folder is one of something else; see `KeptLatents.refuse_other`.
    DiskFullError
        If there is no room for all that is not there yet.
    """
    kept = KeptLatents(first_stage, folder, images)
    kept.refuse_other()
    if not isinstance(conditioner, Captions):
        refuse_without_room(folder, kept.missing_bytes)
        return kept, conditioner
    captions = with_kept_prompts(conditioner, folder, images)
    captions.kept.refuse_other()
    _refuse_without_room(kept, captions.kept)
    return kept, captions


def bytes_to_keep(maker: FeatureMaker, folder: Path, samples: Samples) -> int:
    """Return how much of the disk latents and embeddings of captions will take in a folder.

    As if all captions were different, and besides what is there.

    Raises
    ------
    ConfigurationError
        If the model has no latents.
    """
    own = maker.denoiser if isinstance(maker, Featurizer | ActivationFeaturizer) else None
    if own is None or own.first_stage is None:
        _refuse_cache(folder, "these features have no latents")
        return 0
    latents = KeptLatents(own.first_stage, folder, samples).missing_bytes
    if not isinstance(own.conditioner, Captions):
        return latents
    prompts = with_kept_prompts(own.conditioner, folder, samples).kept
    return latents + prompts.missing_bytes(len(samples))


def _refuse_without_room(latents: KeptLatents, prompts: KeptPrompts) -> None:
    """Refuse a disk that is too small; captions are counted only if it were for all different."""
    missing = latents.missing_bytes
    try:
        refuse_without_room(latents.folder, missing + prompts.missing_bytes(len(latents.samples)))
    except DiskFullError:
        texts = prompts.distinct_texts()
        refuse_without_room(latents.folder, missing + prompts.missing_bytes(texts))


def _refuse_cache(folder: Path | None, why: str) -> None:
    if folder is not None:
        raise ConfigurationError(why, where=f"{FLAG} {folder}", remedy="leave it out")


def _wanted(
    maker: Featurizer | ActivationFeaturizer,
) -> tuple[ImageShape, ConditionKind, CheckLabels | None]:
    """Return the images that a model takes, and which of their labels it knows."""
    kind, conditioner = maker.conditioned_on, maker.denoiser.conditioner
    check = conditioner.check if conditioner is not None and kind == "class label" else None
    return maker.wanted_shape, kind, check


def _told(maker: Reading) -> Reading:
    say(maker.denoiser.description)
    return maker


def number_of_stores(options: FeatureOptions) -> int:
    """Return how many stores the features go to: one for each probe.

    Raises
    ------
    ConfigurationError
        If there are no such probes.
    """
    return len(probe_names(options.output_function or "") or (None,))


def stamp_features(
    model: str, options: FeatureOptions, trajectory: Path | None, stamping: Stamping
) -> bool:
    """Add the files to a stamp that decide the features, besides the images.

    Parameters
    ----------
    model, options, trajectory
        As for `open_features`; the model is not loaded.
    stamping
        What the files are added to.

    Returns
    -------
    bool
        False if there are no files by which a change would show.

    Raises
    ------
    ConfigurationError
        If there is no such function along a path.
    OSError
        If a file or folder cannot be looked at.
    """
    if vector_of(options.output_function) == "pixels":
        return True
    if vector_of(options.output_function) == "clip":
        return _stamp_folder(Path(options.clip), stamping)
    if is_trajectory(options.output_function) and trajectory is not None:
        stamping.tree(TrajectoryFolder(trajectory).folder, _is_visible, "trajectory/")
    base, own_lora = base_and_lora(model)
    loras = (*([] if own_lora is None else [own_lora]), *options.lora)
    if any(lora.startswith(HUB) for lora in loras):
        return False
    for lora in loras:
        path = find_lora(lora)
        stamping.file(path)
        if configuration_of(path).is_file():
            stamping.file(configuration_of(path))
    if options.base is not None:
        if hub_name(options.base) is not None or not model_root(options.base).is_dir():
            return False
        stamping.tree(model_root(options.base), _is_visible, "base/")
    return _stamp_model(model_root(base), stamping)


def _stamp_model(root: Path, stamping: Stamping) -> bool:
    for path in deciding_files(root):
        stamping.file(path)
    return _stamp_folder(root, stamping)


def _stamp_folder(folder: Path, stamping: Stamping) -> bool:
    if not folder.is_dir():
        return False
    stamping.tree(folder, _is_visible, "model/")
    return True


def _is_visible(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".")


def _refuse_trajectory(trajectory: Path | None) -> None:
    if trajectory is not None:
        raise ConfigurationError(
            "only features along sampling paths take one",
            where=f"--trajectory {trajectory}",
            remedy=f'leave it out, or use --output-function "{AVERAGED}"',
        )


def _images_of_their_own_shape(size: int | None, open_images: OpenImages) -> Samples:
    images = open_images(None, "nothing", None)
    if size is None:
        return images
    return open_images(ImageShape(images.shape.channels, size, size), "nothing", None)
