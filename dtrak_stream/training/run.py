"""A training run from its options to the saved model, resumed where it stopped."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from dtrak_stream.data.images import open_images
from dtrak_stream.model.conditioning import NetworkInputs
from dtrak_stream.model.parameters import weights_hash
from dtrak_stream.model.schedule import DDPMSchedule
from dtrak_stream.store.quarantine import read_quarantine
from dtrak_stream.support.destinations import refuse_foreign_folder
from dtrak_stream.support.device import choose_device
from dtrak_stream.support.provenance import record_run
from dtrak_stream.training.batches import ImageBatches, positions_to_train_on, seed_of
from dtrak_stream.training.configuration import MIB, TrainingConfig
from dtrak_stream.training.fingerprint import FINGERPRINT_FILE
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
    refuse_foreign_folder(config.out, FINGERPRINT_FILE, flag="--out")
    bars = visible and not config.quiet
    device = choose_device(config.device)
    images = open_images(
        config.images, None, config.image_options, limit=config.limit, visible=bars
    )
    positions = positions_to_train_on(len(images), config.subset)
    options = config.optimisation
    batches = ImageBatches(
        images, positions, options.batch_size, config.seed, config.image_cache_mib * MIB
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
        if not folder.finished:
            record_run(config.out / "training.yaml", config)
            optimisation = Optimisation(
                network.to(device).train(),
                lambda noisy, timesteps, told: _answer(network, noisy, timesteps, told),
                DDPMSchedule.of(scheduler),
                options,
                options.total_steps(batches.steps_per_epoch),
            )
            loop = TrainingLoop(config, folder, batches, optimisation, visible, config.flip)
            loop.finish(lambda: folder.save_model(network, scheduler))
    folder.remove_checkpoint()
    return TrainingResult(config.out, len(read_quarantine(folder.quarantine)))


def _answer(network: nn.Module, noisy: Tensor, timesteps: Tensor, _told: NetworkInputs) -> Tensor:
    return cast(Tensor, network(noisy, timesteps, return_dict=False)[0])
