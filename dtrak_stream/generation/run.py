"""A generation run: the images that are missing, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dtrak_stream.data.trajectories import Trajectory
from dtrak_stream.errors import (
    ConfigurationError,
    InterruptedRunError,
    MemoryLimitError,
    ModelError,
)
from dtrak_stream.generation.configuration import GenerationConfig
from dtrak_stream.generation.folder import IMAGE_MODES, ImageFolder
from dtrak_stream.generation.prompts import read_prompts
from dtrak_stream.generation.sampler import Sampler
from dtrak_stream.generation.samplers import ImageSampler, load_model, open_sampler
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.parameters import weights_hash
from dtrak_stream.support.destinations import refuse_foreign_folder
from dtrak_stream.support.memory import format_size, usable_memory
from dtrak_stream.support.progress import progress, say
from dtrak_stream.support.provenance import record_run
from dtrak_stream.training.fingerprint import FINGERPRINT_FILE, Fingerprint

_BATCH = 16  # of models that are told no captions


@dataclass(frozen=True)
class GenerationResult:
    """Where the images are.

    Attributes
    ----------
    path
        Folder of PNG files.
    quarantined
        Always 0: a model whose output is not finite is refused.
    """

    path: Path
    quarantined: int = 0


def generate(config: GenerationConfig, *, visible: bool = True) -> GenerationResult:
    """Generate the images of a run, those that are not there yet.

    Raises
    ------
    MemoryLimitError
        If the paths of one batch, where asked for, do not fit in memory.
    ConfigurationError
        If an option means nothing for such a model, or it wants prompts or classes and has none.
    InputError, ModelError
        If model or prompts cannot be read, or the model gives a number that is not finite.
    FingerprintMismatchError
        If the folder holds images of another model, sampler or seed, or more of them.
    InterruptedRunError
        On Ctrl-C. All images made so far are kept.
    """
    refuse_foreign_folder(config.out, FINGERPRINT_FILE, flag="--out")
    prompts = read_prompts(config.prompt, config.prompts)
    denoiser = load_model(config)
    sampler = open_sampler(denoiser, config, prompts)
    count = config.number_of_images(len(prompts))
    _check_channels(denoiser)
    _refuse_paths_of_latents(config, denoiser)
    _check_memory(config, denoiser, sampler)
    folder = ImageFolder(config.out, config.float_images, config.save_trajectory)
    folder.claim(_fingerprint(config, denoiser, sampler), count)
    record_run(config.out / "generation.yaml", config)
    if denoiser.conditioner is not None:
        folder.tell(sampler.told, count)
    bars = visible and not config.quiet
    if visible:
        say(denoiser.description)
    done = count - len(folder.missing(range(count)))
    with progress(
        count,
        description="generating",
        unit="image",
        done=done,
        visible=bars,
    ) as bar:
        try:
            for made in _make_missing(config, count, sampler, folder):
                bar.update(made)
                done += made
        except KeyboardInterrupt as interrupt:
            raise InterruptedRunError(f"{done} of {count} images are saved") from interrupt
    for line in denoiser.remarks() if bars else ():
        say(line)
    folder.join_float_images(count)
    folder.record_images(count)
    return GenerationResult(config.out)


def _make_missing(
    config: GenerationConfig, count: int, sampler: ImageSampler, folder: ImageFolder
) -> Iterator[int]:
    """Make each batch that has a missing image; yield how many were missing."""
    together = _together(config, sampler)
    for first in range(0, count, together):
        batch = range(first, first + together)
        missing = folder.missing(range(first, min(batch.stop, count)))
        if not missing:
            continue
        paths: list[Trajectory] | None = None
        if config.save_trajectory and isinstance(sampler, Sampler):
            images, paths = sampler.sample_with_paths(batch)  # (B, C, H, W)
        else:
            images = sampler.sample(batch)
        for number in missing:
            place = number - first
            folder.save(number, images[place], paths[place] if paths else None)
        yield len(missing)


def _together(config: GenerationConfig, sampler: ImageSampler) -> int:
    """Return how many images are made at a time."""
    return config.batch_size or (_BATCH if isinstance(sampler, Sampler) else 1)


def _fingerprint(
    config: GenerationConfig, denoiser: Denoiser, sampler: ImageSampler
) -> Fingerprint:
    return {
        "weights": weights_hash(denoiser.network),
        **sampler.identity,
        "seed": config.seed,
        **({"labels": config.labels} if config.labels is not None else {}),
    }


def _check_memory(config: GenerationConfig, denoiser: Denoiser, sampler: ImageSampler) -> None:
    shape = denoiser.image_shape
    numbers = sampler.num_steps * shape.channels * shape.height * shape.width
    together = _together(config, sampler)
    needed = 2 * 4 * numbers * together  # x_t and x_0 in float32
    if config.save_trajectory and needed > usable_memory():
        raise MemoryLimitError(
            f"the paths of {together} images need {format_size(needed)}, "
            f"{format_size(usable_memory())} are there",
            where=f"--batch-size {together}",
            remedy="lower it, or --steps",
        )


def _refuse_paths_of_latents(config: GenerationConfig, denoiser: Denoiser) -> None:
    if config.save_trajectory and denoiser.first_stage is not None:
        raise ConfigurationError(
            "paths are those of images, and the model makes latents",
            where="--save-trajectory",
            remedy="leave it out",
        )


def _check_channels(denoiser: Denoiser) -> None:
    if denoiser.image_shape.channels not in IMAGE_MODES:
        raise ModelError(
            f"makes images of {denoiser.image_shape}, which PNG files cannot hold",
            where=denoiser.folder,
            remedy="give a model of grayscale (1) or RGB (3) images",
        )
