"""A training run from its options to the saved model, resumed where it stopped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch import Tensor, nn

from dtrak_stream.data.images import open_images
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.model.conditioning import NetworkInputs
from dtrak_stream.model.parameters import weights_hash
from dtrak_stream.model.schedule import DDPMSchedule
from dtrak_stream.store.quarantine import read_quarantine
from dtrak_stream.support.destinations import refuse_foreign_folder
from dtrak_stream.support.device import choose_device
from dtrak_stream.support.provenance import record_run
from dtrak_stream.training.batches import ImageBatches, positions_to_train_on, seed_of
from dtrak_stream.training.configuration import MIB, TrainingConfig
from dtrak_stream.training.fingerprint import FINGERPRINT_FILE, Fingerprint
from dtrak_stream.training.first_weights import start_from
from dtrak_stream.training.folder import TrainingFolder
from dtrak_stream.training.loop import (
    FREE_OPTIONS,
    TrainingLoop,
    TrainingResult,
    decisive_facts,
    own_random_state,
)
from dtrak_stream.training.optimisation import Optimisation, build_network, build_scheduler


def train(config: TrainingConfig, *, visible: bool = True) -> TrainingResult:
    """Train a UNet2DModel, from scratch or further, and save it as a DDPMPipeline folder.

    Each step's randomness depends on the seed and the step number alone, so a run that was
    interrupted, even by a crash, ends with the same bytes as one that was not (on the CPU, with
    the same number of threads; GPU kernels may add in another order).

    Parameters
    ----------
    config
        What to train on, how, and where to save it.
    visible
        False for library use: no progress bar, and nothing is said.

    Raises
    ------
    InputError, ConfigurationError
        If the images or an option cannot be used.
    FingerprintMismatchError
        If the folder holds a run with other options or other images.
    ModelError
        If the loss is no longer finite.
    InterruptedRunError
        On Ctrl-C, with a checkpoint saved.
    """
    with _begun(config, visible) as begun:
        if not begun.folder.finished:
            begun.loop().finish(lambda: begun.folder.save_model(begun.network, begun.scheduler))
    begun.folder.remove_checkpoint()
    return TrainingResult(config.out, len(read_quarantine(begun.folder.quarantine)))


def weights_along(
    config: TrainingConfig, shares: Sequence[float], *, visible: bool = True
) -> list[Path]:
    """Train no further than is asked for, and keep the weights on the way.

    Parameters
    ----------
    config
        As of `train`: the learning rate falls as in the whole run.
    shares
        Of all steps, in (0, 1], in rising order: training does not go back for one.

    Returns
    -------
    list of Path
        A model folder for each share, in a folder of its own in `config.out`.

    Raises
    ------
    ConfigurationError
        If averaged weights are asked for: these are those of the last step. If the training has
        passed a share that it was not asked for before.
    DtrakStreamError
        As of `train`.
    """
    if config.optimisation.ema:
        raise ConfigurationError(
            "averages weights, and those along training are not averaged",
            where="--ema",
            remedy="leave it out",
        )
    models = [TrainingFolder(config.out / "along" / f"{share:g}") for share in shares]
    with _begun(config, visible) as begun:
        loop = None
        for share, model in zip(shares, models, strict=True):
            if not model.finished:
                loop = loop or begun.loop()
                model.claim({**begun.facts, "share": share})
                loop.go_on_until(share)
                model.save_model(begun.network, begun.scheduler)
    return [model.path for model in models]


@dataclass(frozen=True)
class _Begun:
    """A run whose folder is claimed."""

    config: TrainingConfig
    visible: bool
    folder: TrainingFolder
    batches: ImageBatches
    network: UNet2DModel
    scheduler: DDPMScheduler
    device: torch.device
    facts: Fingerprint

    def loop(self) -> TrainingLoop:
        """Return its steps, none of them taken; the network moves to its device."""
        config, network = self.config, self.network
        record_run(config.out / "training.yaml", config)
        optimisation = Optimisation(
            network.to(self.device).train(),
            lambda noisy, timesteps, told: _answer(network, noisy, timesteps, told),
            DDPMSchedule.of(self.scheduler),
            config.optimisation,
            config.optimisation.total_steps(self.batches.steps_per_epoch),
        )
        return TrainingLoop(
            config, self.folder, self.batches, optimisation, self.visible, config.flip
        )


@contextmanager
def _begun(config: TrainingConfig, visible: bool) -> Iterator[_Begun]:
    """Open images and network and claim the folder; torch's random state is the run's own."""
    refuse_foreign_folder(config.out, FINGERPRINT_FILE, flag="--out")
    bars = visible and not config.quiet
    device = choose_device(config.device)
    images = open_images(
        config.images, None, config.image_options, limit=config.limit, visible=bars
    )
    positions = positions_to_train_on(len(images), config.subset)
    batches = ImageBatches(
        images, positions, config.optimisation.batch_size, config.seed, config.image_cache_mib * MIB
    )
    with own_random_state(device):
        torch.manual_seed(seed_of("weights", config.seed))
        network = build_network(config.architecture, images.shape)
        folder = TrainingFolder(config.out)
        scheduler = build_scheduler(config.noise_schedule)
        facts = decisive_facts(config, batches, FREE_OPTIONS)
        if config.start_from is not None:
            start_from(network, DDPMSchedule.of(scheduler), config.start_from)
            facts["first-weights"] = weights_hash(network)
        folder.claim(facts)
        yield _Begun(config, visible, folder, batches, network, scheduler, device, facts)


def _answer(network: nn.Module, noisy: Tensor, timesteps: Tensor, _told: NetworkInputs) -> Tensor:
    return cast(Tensor, network(noisy, timesteps, return_dict=False)[0])
