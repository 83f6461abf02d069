"""A training run from its options to the saved model, resumed where it stopped."""

from __future__ import annotations

import signal
import statistics
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import xxhash
from diffusers import DDPMScheduler
from tqdm import tqdm

from dtrak_stream.data.images import open_images
from dtrak_stream.data.options import with_effect
from dtrak_stream.errors import InterruptedRunError
from dtrak_stream.model.schedule import DDPMSchedule
from dtrak_stream.store.quarantine import QuarantinedSample, keep_quarantine, read_quarantine
from dtrak_stream.support.destinations import refuse_foreign_folder
from dtrak_stream.support.device import choose_device
from dtrak_stream.support.progress import progress, say
from dtrak_stream.support.provenance import flat_options, record_run
from dtrak_stream.training.batches import ImageBatches, positions_to_train_on, seed_of
from dtrak_stream.training.configuration import MIB, TrainingConfig
from dtrak_stream.training.fingerprint import FINGERPRINT_FILE, Fingerprint
from dtrak_stream.training.folder import TrainingFolder
from dtrak_stream.training.optimisation import Optimisation, build_network, build_scheduler

# What may change between a run and its continuation without changing its result. The images and
# the subset are in the fingerprint by their contents.
_FREE_OPTIONS = {
    "images",
    "limit",
    "subset",
    "out",
    "device",
    "checkpoint-every",
    "image-cache-mib",
    "quiet",
}
_RECENT_STEPS = 100
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class TrainingResult:
    """Where the model is, and how the training went.

    Attributes
    ----------
    path
        The diffusers pipeline folder.
    quarantined
        Number of images that could not be used.
    """

    path: Path
    quarantined: int


def train(config: TrainingConfig, *, visible: bool = True) -> TrainingResult:
    """Train a UNet2DModel from scratch and save it as a DDPMPipeline folder.

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
    with _own_random_state(device):
        torch.manual_seed(seed_of("weights", config.seed))
        network = build_network(config.architecture, images.shape)
        folder = TrainingFolder(config.out)
        folder.claim(_fingerprint(config, batches))
        if not folder.finished:
            record_run(config.out / "training.yaml", config)
            scheduler = build_scheduler(config.noise_schedule)
            optimisation = Optimisation(
                network.to(device).train(),
                DDPMSchedule.of(scheduler),
                options,
                options.total_steps(batches.steps_per_epoch),
            )
            _Run(config, folder, batches, optimisation, visible).finish(scheduler)
    folder.remove_checkpoint()
    return TrainingResult(config.out, len(read_quarantine(folder.quarantine)))


@dataclass
class _Run:
    config: TrainingConfig
    folder: TrainingFolder
    batches: ImageBatches
    optimisation: Optimisation
    visible: bool

    def finish(self, scheduler: DDPMScheduler) -> None:
        """Take all steps that are left, then save the model."""
        self._restore()
        self._take_steps()
        self._save_quarantine()
        self.folder.save_losses(self.optimisation.losses)
        self.optimisation.use_averaged_weights()
        self.folder.save_model(self.optimisation.network, scheduler)
        if self.visible:
            for line in (*self.batches.images.remarks(), self._story()):
                say(line)

    @property
    def _total_steps(self) -> int:
        return self.config.optimisation.total_steps(self.batches.steps_per_epoch)

    def _restore(self) -> None:
        state = self.folder.load_checkpoint()
        if state is not None:
            self.batches.bad = state.pop("bad")
            self.optimisation.restore(state)

    def _take_steps(self) -> None:
        period = self.config.checkpoint_every * self.batches.steps_per_epoch
        optimisation = self.optimisation
        with self._bar() as bar, DeferredInterrupt() as interrupt:
            while optimisation.steps_done < self._total_steps:
                self._take_step()
                bar.update()
                bar.set_postfix_str(f"loss {self._recent_loss():.4f}", refresh=False)
                if interrupt.requested:
                    self._stop()
                if optimisation.steps_done % period == 0:
                    self._save_checkpoint()

    def _take_step(self) -> None:
        step = self.optimisation.steps_done
        images = self.batches.batch(step)
        if images is None:
            self.optimisation.skip()
        else:
            seed = seed_of("step", self.config.seed, step)
            self.optimisation.step(images, flip=self.config.flip, seed=seed)

    def _stop(self) -> None:
        self._save_checkpoint()
        raise InterruptedRunError(
            f"{self.optimisation.steps_done} of {self._total_steps} steps are saved"
        )

    def _save_checkpoint(self) -> None:
        self._save_quarantine()
        self.folder.save_checkpoint({**self.optimisation.state(), "bad": self.batches.bad})

    def _save_quarantine(self) -> None:
        images, bad = self.batches.images, self.batches.bad
        if bad:
            samples = [
                QuarantinedSample(row, images.sample_id(row), bad[row]) for row in sorted(bad)
            ]
            keep_quarantine(self.folder.quarantine, samples)

    def _bar(self) -> tqdm[None]:
        done, total = self.optimisation.steps_done, self._total_steps
        visible = self.visible and not self.config.quiet
        return progress(total, description="training", unit="step", done=done, visible=visible)

    def _recent_loss(self) -> float:
        recent = self.optimisation.losses[-_RECENT_STEPS:]
        return statistics.fmean([loss for loss in recent if loss == loss] or [float("nan")])

    def _story(self) -> str:
        network = self.optimisation.network
        parameters = sum(weights.numel() for weights in network.parameters())
        kind = "averaged (EMA) weights" if self.optimisation.average else "last weights"
        bad = f"; {len(self.batches.bad)} bad images left out" if self.batches.bad else ""
        return (
            f"trained {parameters:,} parameters on {len(self.batches.positions)} images for "
            f"{self._total_steps} steps, mean loss of the last {_RECENT_STEPS}: "
            f"{self._recent_loss():.4f}; the {kind} are saved{bad}"
        )


def _fingerprint(config: TrainingConfig, batches: ImageBatches) -> Fingerprint:
    options = {
        name: value for name, value in flat_options(config).items() if name not in _FREE_OPTIONS
    }
    return {
        **with_effect(options),
        "total-steps": config.optimisation.total_steps(batches.steps_per_epoch),
        "image-identity": batches.images.identity(),
        "image-shape": str(batches.images.shape),
        "positions": xxhash.xxh3_128_hexdigest(batches.positions.astype("<i8").tobytes()),
    }


@contextmanager
def _own_random_state(device: torch.device) -> Iterator[None]:
    """Leave torch's default generators as they were found."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


class DeferredInterrupt(AbstractContextManager["DeferredInterrupt"]):
    """Context in which Ctrl-C (or SIGTERM) sets `requested`; a second one interrupts at once.

    Outside the main thread Python delivers no signals, and nothing is changed.
    """

    def __init__(self) -> None:
        self.requested = False
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> DeferredInterrupt:
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.getsignal(number) for number in _SIGNALS}
            for number in _SIGNALS:
                signal.signal(number, self._note)
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, _signal: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        say("interrupted: saving a checkpoint after this step (again to stop at once)")
