"""Training a LoRA, from its options to the saved factors, resumed where it stopped."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dtrak_stream.data.images import Images, open_images
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.layout import LORA_FILE
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.model_folder import network_name
from dtrak_stream.model.parameters import weights_hash
from dtrak_stream.store.quarantine import read_quarantine
from dtrak_stream.support.destinations import refuse_foreign_folder
from dtrak_stream.support.device import choose_device
from dtrak_stream.support.progress import say
from dtrak_stream.support.provenance import record_run
from dtrak_stream.training.batches import ImageBatches, positions_to_train_on, seed_of
from dtrak_stream.training.configuration import MIB
from dtrak_stream.training.fingerprint import FINGERPRINT_FILE, Fingerprint
from dtrak_stream.training.folder import TrainingFolder
from dtrak_stream.training.loop import (
    FREE_OPTIONS,
    TrainingLoop,
    TrainingResult,
    decisive_facts,
    own_random_state,
)
from dtrak_stream.training.lora_configuration import LoraTrainingConfig
from dtrak_stream.training.lora_layers import LoraLayers
from dtrak_stream.training.optimisation import Optimisation

# the model, and what it is told, is in the fingerprint by its contents
_FREE_OPTIONS = FREE_OPTIONS | {
    *("model", "base"),
    *("size", "guidance", "t5-tokens", "time-ids"),
}


def train_lora(config: LoraTrainingConfig, *, visible: bool = True) -> TrainingResult:
    """Train a LoRA and save it as diffusers does; the rest of the model stands still.

    What learns is the loss of the model's own training: the mean squared error of what its network
    predicts, over all timesteps alike. Randomness is as in `train`, and so is what becomes of a
    run that was interrupted.

    Raises
    ------
    InputError, ConfigurationError, ModelError
        If the images, their captions, the model or an option cannot be used.
    FingerprintMismatchError
        If the folder holds a run with other options, images, captions or another model.
    ModelError
        If the loss is no longer finite.
    InterruptedRunError
        On Ctrl-C, with a checkpoint saved.
    """
    refuse_foreign_folder(config.out, FINGERPRINT_FILE, flag="--out")
    bars = visible and not config.quiet
    device = choose_device(config.device)
    denoiser = load_denoiser(config.model, config.told.loading(), device=device)
    _refuse_dropout_without_captions(config, denoiser)
    images = open_training_images(config, denoiser, visible=bars)
    batches = _batches(config, images, denoiser)
    weights = weights_hash(denoiser.network)
    with own_random_state(device):
        layers = LoraLayers(denoiser.network, config.layers, seed_of("weights", config.seed))
        folder = TrainingFolder(config.out, model_file=LORA_FILE)
        folder.claim(_fingerprint(config, batches, denoiser, weights))
        if not folder.finished:
            record_run(config.out / "training.yaml", config)
            if visible:
                say(denoiser.description)
            _loop(config, folder, batches, denoiser, visible).finish(
                lambda: folder.save_lora(layers.file_content(network_name(denoiser.class_name)))
            )
            for line in denoiser.remarks() if visible else ():
                say(line)
    folder.remove_checkpoint()
    return TrainingResult(config.out, len(read_quarantine(folder.quarantine)))


def open_training_images(
    config: LoraTrainingConfig, denoiser: Denoiser, *, visible: bool
) -> Images:
    """Open the images that a LoRA is trained on, with what the model wants to be told of them.

    Raises
    ------
    InputError, ConfigurationError, ModelError
        See `open_images`.
    """
    return open_images(
        config.images,
        denoiser.image_shape,
        config.image_options,
        limit=config.limit,
        conditioned_on=denoiser.conditioned_on,
        conditions=config.conditions,
        visible=visible,
    )


def _batches(config: LoraTrainingConfig, images: Images, denoiser: Denoiser) -> ImageBatches:
    def encode(pixels: Tensor, ids: Sequence[str]) -> Tensor:
        if denoiser.first_stage is None:
            return pixels
        return denoiser.first_stage.latents(pixels.to(denoiser.device), ids).cpu()

    return ImageBatches(
        images,
        positions_to_train_on(len(images), config.subset),
        config.optimisation.batch_size,
        config.seed,
        config.image_cache_mib * MIB,
        encode,
        config.caption_dropout,
    )


def _loop(
    config: LoraTrainingConfig,
    folder: TrainingFolder,
    batches: ImageBatches,
    denoiser: Denoiser,
    visible: bool,
) -> TrainingLoop:
    denoiser.network.train()
    optimisation = Optimisation(
        denoiser.network,
        denoiser.predict,
        denoiser.schedule,
        config.optimisation,
        config.optimisation.total_steps(batches.steps_per_epoch),
    )
    return TrainingLoop(config, folder, batches, optimisation, visible, told=denoiser.inputs_of)


def _fingerprint(
    config: LoraTrainingConfig, batches: ImageBatches, denoiser: Denoiser, weights: str
) -> Fingerprint:
    facts = decisive_facts(config, batches, _FREE_OPTIONS)
    return {**facts, "model": denoiser.identity, "weights": weights}


def _refuse_dropout_without_captions(config: LoraTrainingConfig, denoiser: Denoiser) -> None:
    if config.caption_dropout and denoiser.conditioned_on != "caption":
        raise ConfigurationError(
            f"the model is told {denoiser.conditioned_on} of images, and no captions",
            where="--caption-dropout",
            remedy="leave it out",
        )
