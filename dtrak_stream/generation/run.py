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
from dtrak_stream.generation.sampler import Sampler
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.parameters import weights_hash
from dtrak_stream.support.destinations import refuse_foreign_folder
from dtrak_stream.support.device import choose_device
from dtrak_stream.support.memory import format_size, usable_memory
from dtrak_stream.support.progress import progress, say
from dtrak_stream.support.provenance import record_run
from dtrak_stream.training.fingerprint import FINGERPRINT_FILE, Fingerprint


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
    """Generate `config.count` images, those that are not there yet.

    Raises
    ------
    MemoryLimitError
        If the paths of one batch, where asked for, do not fit in memory.
    InputError, ModelError
        If the model cannot be loaded, or gives a number that is not finite.
    FingerprintMismatchError
        If the folder holds images of another model, sampler or seed, or more of them.
    InterruptedRunError
        On Ctrl-C. All images made so far are kept.
    """
    refuse_foreign_folder(config.out, FINGERPRINT_FILE, flag="--out")
    denoiser = load_denoiser(config.model, device=choose_device(config.device))
    labels = config.classes()
    sampler = Sampler(denoiser, config.sampler, config.steps, config.eta, config.seed, labels)
    _check_channels(denoiser)
    _refuse_paths_of_latents(config, denoiser)
    _check_memory(config, denoiser, sampler)
    folder = ImageFolder(config.out, config.float_images, config.save_trajectory)
    folder.claim(_fingerprint(config, denoiser), config.count)
    record_run(config.out / "generation.yaml", config)
    folder.tell_labels(labels, config.count)
    bars = visible and not config.quiet
    if bars:
        say(denoiser.description)
    done = config.count - len(folder.missing(range(config.count)))
    with progress(
        config.count,
        description="generating",
        unit="image",
        done=done,
        visible=bars,
    ) as bar:
        try:
            for made in _make_missing(config, sampler, folder):
                bar.update(made)
                done += made
        except KeyboardInterrupt as interrupt:
            raise InterruptedRunError(f"{done} of {config.count} images are saved") from interrupt
    folder.join_float_images(config.count)
    folder.record_images(config.count)
    return GenerationResult(config.out)


def _make_missing(config: GenerationConfig, sampler: Sampler, folder: ImageFolder) -> Iterator[int]:
    """Make each batch that has a missing image; yield how many were missing."""
    for first in range(0, config.count, config.batch_size):
        batch = range(first, first + config.batch_size)
        missing = folder.missing(range(first, min(batch.stop, config.count)))
        if not missing:
            continue
        paths: list[Trajectory] | None = None
        if config.save_trajectory:
            images, paths = sampler.sample_with_paths(batch)  # (B, C, H, W)
        else:
            images = sampler.sample(batch)
        for number in missing:
            place = number - first
            folder.save(number, images[place], paths[place] if paths else None)
        yield len(missing)


def _fingerprint(config: GenerationConfig, denoiser: Denoiser) -> Fingerprint:
    schedule = {k: v for k, v in denoiser.scheduler_config.items() if not k.startswith("_")}
    return {
        "weights": weights_hash(denoiser.network),
        "scheduler": schedule,
        "sampler": config.sampler,
        "steps": config.steps,
        "eta": config.eta,
        "seed": config.seed,
        **({"labels": config.labels} if config.labels is not None else {}),
        **_decoder(denoiser),
    }


def _decoder(denoiser: Denoiser) -> Fingerprint:
    first_stage = denoiser.first_stage
    return {} if first_stage is None else {"decoder": first_stage.decoding_identity}


def _check_memory(config: GenerationConfig, denoiser: Denoiser, sampler: Sampler) -> None:
    shape = denoiser.image_shape
    numbers = sampler.num_steps * shape.channels * shape.height * shape.width
    needed = 2 * 4 * numbers * config.batch_size  # x_t and x_0 in float32
    if config.save_trajectory and needed > usable_memory():
        raise MemoryLimitError(
            f"the paths of {config.batch_size} images need {format_size(needed)}, "
            f"{format_size(usable_memory())} are there",
            where=f"--batch-size {config.batch_size}",
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
