"""All steps of a training run, from where it stopped, with its checkpoints."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
import xxhash

from dtrak_stream.data.options import with_effect
from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.errors import ConfigurationError, InterruptedRunError
from dtrak_stream.model.conditioning import NetworkInputs
from dtrak_stream.store.quarantine import QuarantinedSample, keep_quarantine
from dtrak_stream.support.progress import Bar, progress, say
from dtrak_stream.support.provenance import flat_options
from dtrak_stream.training.batches import ImageBatches, seed_of
from dtrak_stream.training.configuration import TrainingConfig
from dtrak_stream.training.fingerprint import Fingerprint
from dtrak_stream.training.folder import TrainingFolder
from dtrak_stream.training.interruption import DeferredInterrupt
from dtrak_stream.training.lora_configuration import LoraTrainingConfig
from dtrak_stream.training.optimisation import Optimisation

AnyTraining: TypeAlias = TrainingConfig | LoraTrainingConfig
_RECENT_STEPS = 100


# What may change between a run and its continuation without changing its result. Images, what they
# are told with, and the subset are in the fingerprint by their contents.
FREE_OPTIONS = frozenset(
    {
        *("images", "limit", "subset", "start-from", "out", "device", "checkpoint-every"),
        *("image-cache-mib", "quiet"),
    }
)


def decisive_facts(
    config: AnyTraining, batches: ImageBatches, free_options: frozenset[str]
) -> Fingerprint:
    """Return what decides the result of a training: its options, but for some, and its images."""
    options = {
        name: value for name, value in flat_options(config).items() if name not in free_options
    }
    return {
        **with_effect(options),
        "total-steps": config.optimisation.total_steps(batches.steps_per_epoch),
        "image-identity": batches.images.identity(),
        "image-shape": str(batches.images.shape),
        "positions": xxhash.xxh3_128_hexdigest(batches.positions.astype("<i8").tobytes()),
    }


@dataclass(frozen=True)
class TrainingResult:
    """Where the model is, and how the training went.

    Attributes
    ----------
    path
        The folder of the model.
    quarantined
        Number of images that could not be used.
    """

    path: Path
    quarantined: int


def _nothing_told(_samples: SampleBatch) -> NetworkInputs:
    return {}


@dataclass
class TrainingLoop:
    """Takes the steps of a run, and saves what came of them.

    Attributes
    ----------
    config
        Seed, length and checkpoints are as it says.
    folder, batches, optimisation
        What the run is made of.
    visible
        Whether anything is drawn and said.
    flip
        Whether images are mirrored at random.
    told
        What the network is told of samples.
    """

    config: AnyTraining
    folder: TrainingFolder
    batches: ImageBatches
    optimisation: Optimisation
    visible: bool
    flip: bool = False
    told: Callable[[SampleBatch], NetworkInputs] = _nothing_told

    def finish(self, save: Callable[[], None]) -> None:
        """Take all steps that are left, then call `save` for the model."""
        self._restore()
        self._take_steps(self._total_steps)
        self._save_quarantine()
        self.folder.save_losses(self.optimisation.losses)
        self.optimisation.use_averaged_weights()
        save()
        if self.visible:
            for line in (*self.batches.images.remarks(), self._story()):
                say(line)

    def go_on_until(self, share: float) -> None:
        """Take steps up to a share of them all, and save a checkpoint there.

        Raises
        ------
        ConfigurationError
            If more of them are taken already.
        """
        self._restore()
        last = round(share * self._total_steps)
        if self.optimisation.steps_done > last:
            raise ConfigurationError(
                f"this training is at step {self.optimisation.steps_done} and was not asked for "
                f"the weights at step {last} before",
                where=self.folder.path,
                remedy="move the folder away to train again from the start",
            )
        self._take_steps(last)
        self._save_checkpoint()

    @property
    def _total_steps(self) -> int:
        return self.config.optimisation.total_steps(self.batches.steps_per_epoch)

    def _restore(self) -> None:
        state = self.folder.load_checkpoint()
        if state is not None:
            self.batches.bad = state.pop("bad")
            self.optimisation.restore(state)

    def _take_steps(self, last: int) -> None:
        period = self.config.checkpoint_every * self.batches.steps_per_epoch
        optimisation = self.optimisation
        with self._bar() as bar, DeferredInterrupt() as interrupt:
            while optimisation.steps_done < last:
                self._take_step()
                bar.update()
                bar.set_postfix_str(f"loss {self._recent_loss():.4f}", refresh=False)
                if interrupt.requested:
                    self._stop()
                if optimisation.steps_done % period == 0:
                    self._save_checkpoint()

    def _take_step(self) -> None:
        step = self.optimisation.steps_done
        samples = self.batches.batch(step)
        if samples is None:
            return self.optimisation.skip()
        seed, told = seed_of("step", self.config.seed, step), self.told(samples)
        self.optimisation.step(samples.tensors, flip=self.flip, seed=seed, inputs=told)
        return None

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

    def _bar(self) -> Bar:
        done, total = self.optimisation.steps_done, self._total_steps
        visible = self.visible and not self.config.quiet
        return progress(total, description="training", unit="step", done=done, visible=visible)

    def _recent_loss(self) -> float:
        recent = self.optimisation.losses[-_RECENT_STEPS:]
        return statistics.fmean([loss for loss in recent if loss == loss] or [float("nan")])

    def _story(self) -> str:
        parameters = sum(weights.numel() for weights in self.optimisation.moving.values())
        kind = "averaged (EMA) weights" if self.optimisation.average else "last weights"
        bad = f"; {len(self.batches.bad)} bad images left out" if self.batches.bad else ""
        return (
            f"trained {parameters:,} parameters on {len(self.batches.positions)} images for "
            f"{self._total_steps} steps, mean loss of the last {_RECENT_STEPS}: "
            f"{self._recent_loss():.4f}; the {kind} are saved{bad}"
        )


@contextmanager
def own_random_state(device: torch.device) -> Iterator[None]:
    """Leave torch's default generators as they were found."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
