"""From images to gradient features: engine and projector as one thing, within memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import ConditionKind, SampleBatch, Samples
from dtrak_stream.features.maker import EngineName, fingerprint, in_fitting_batches
from dtrak_stream.gradients.coverage import served_parameters
from dtrak_stream.gradients.hooked import HookedEngine
from dtrak_stream.gradients.pass_memory import bytes_of_a_pair, pairs_that_fit
from dtrak_stream.gradients.residuals import residuals
from dtrak_stream.gradients.stream import GradientEngine, GradientSlice
from dtrak_stream.gradients.task import GradientTask
from dtrak_stream.gradients.timestep_batched import TimestepBatchedEngine
from dtrak_stream.model.conditioning import Conditioner
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.first_stage import FirstStage
from dtrak_stream.projectors.projector import Projector
from dtrak_stream.store.fingerprint import Fingerprint
from dtrak_stream.support.arithmetic import repeating_if_it_can
from dtrak_stream.support.timing import StageTimer

_SCALE_STEP = 16.0
_SCALE_OF_ZEROS = 2.0**20  # brings 1e-6 of the usual gradient to where that is


@dataclass
class Featurizer:
    """Turns images into projected gradients; a `FeatureMaker`.

    Attributes
    ----------
    task
        What is differentiated.
    projector
        Maps gradients to features.
    image_shape
        The images it takes.
    device
        Where it computes.
    identity
        Fields of the fingerprint that do not depend on the images. The output function is that
        of the task unless it stands here.
    engine
        Streams per-sample gradients.
    batch_size
        Images given to the engine at a time. Halved whenever the device runs out of memory.
    first_stage
        What encodes images in place of the model's own first stage, to the same latents.
    conditioner
        What reads conditions in place of the model's own, to the same inputs.
    found_served
        What `served_parameters` found, shared by all that is made of the same task.
    """

    task: GradientTask
    projector: Projector
    image_shape: ImageShape
    device: torch.device
    identity: dict[str, object]
    engine: GradientEngine
    batch_size: int = 64
    first_stage: FirstStage | None = None
    conditioner: Conditioner | None = None
    found_served: list[frozenset[str]] = field(default_factory=list, repr=False)
    smallest_batch: ClassVar[str] = "one image at one timestep"

    @property
    def denoiser(self) -> Denoiser:
        """Return the model."""
        return self.task.denoiser

    def reading(
        self, first_stage: FirstStage | None, conditioner: Conditioner | None
    ) -> Featurizer:
        """Return the same with what encodes images and conditions, None for the model's own."""
        engine = TimestepBatchedEngine(self.task)
        return replace(self, first_stage=first_stage, conditioner=conditioner, engine=engine)

    @property
    def wanted_shape(self) -> ImageShape:
        """Return the shape of the images that the model takes."""
        return self.image_shape

    @property
    def conditioned_on(self) -> ConditionKind:
        """Return what the model wants to be told of a sample."""
        return self.task.denoiser.conditioned_on

    @property
    def weight_bytes(self) -> int:
        """Return how many bytes of memory the weights of the whole model take."""
        return self.task.denoiser.weight_bytes

    @property
    def engines(self) -> tuple[EngineName, ...]:
        """Return both engines; a model whose layers have no rules leaves the second one."""
        return ("hooked", "timestep-batched")

    @property
    def pairs(self) -> int:
        """Return how many (timestep, draw) pairs gradients are averaged over."""
        return len(self.task.pairs)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Return the names of the parameters whose gradients are taken."""
        return tuple(self.task.parameters)

    def served_parameters(self) -> frozenset[str]:
        """Return those of them that layer rules serve, found by trying, once for each task."""
        if not self.found_served:
            self.found_served.append(served_parameters(self.task))
        return self.found_served[0]

    @property
    def bytes_of_a_pair(self) -> int | None:
        """Return how many bytes one pass keeps of each (sample, timestep, draw) triple."""
        return bytes_of_a_pair(self.task)

    def pairs_that_fit(self) -> int:
        """Return how many (sample, timestep, draw) triples one pass has memory for."""
        return pairs_that_fit(self.task)

    def use_engine(
        self, name: EngineName, *, pairs_per_pass: int, served: frozenset[str], compiled: bool
    ) -> None:
        """Take gradients by the engine called `name`; see `FeatureMaker.use_engine`."""
        self.engine.close()
        if name == "hooked":
            self.engine = HookedEngine(self.task, served, pairs_per_pass)
        else:
            self.engine = TimestepBatchedEngine(
                self.task, pairs_per_pass=pairs_per_pass, compiled=compiled
            )

    @property
    def timer(self) -> StageTimer:
        """Return what adds up the time of all stages."""
        return self.task.timer

    @property
    def width(self) -> int:
        """Return how many numbers a sample becomes, under all output functions."""
        return self.projector.proj_dim

    def features(self, samples: SampleBatch) -> Tensor:
        """Return the features of B samples: (B, k) float32 on the CPU.

        Raises
        ------
        MemoryLimitError
            If the device has no room for one image at one timestep.
        """
        return in_fitting_batches(self, self._batch, samples)

    def residuals(self, samples: SampleBatch, /) -> Tensor | None:
        """Return how wrong the model is about B samples, if gradients are of unit length.

        (B,) float32 on the CPU.
        """
        if not self.task.unit_gradients:
            return None
        return in_fitting_batches(self, self._residuals, samples)

    def fingerprints(
        self, samples: Samples, dtype: str, rows_per_shard: int
    ) -> tuple[Fingerprint, ...]:
        """Return what the features depend on; see `FeatureMaker.fingerprints`."""
        names = [function.name for function in self.task.output_functions]
        identities = [{"output_function": name, **self.identity} for name in names]
        return tuple(fingerprint(each, samples, dtype, rows_per_shard) for each in identities)

    def remarks(self) -> list[str]:
        """Return what the model has to say of the samples met so far."""
        return self._encoder.remarks()

    def close(self) -> None:
        """Leave the network as it was found."""
        self.engine.close()

    def _residuals(self, samples: SampleBatch) -> Tensor:
        pairs = self.engine.pairs_per_pass
        samples = self._encoded(samples)
        return repeating_if_it_can(lambda: residuals(self.task, samples, pairs))

    def _batch(self, samples: SampleBatch) -> Tensor:
        """Compute one batch; some rows again, where float16 has no such numbers."""
        scale = self.task.scale
        first_scale = scale.value
        samples = self._encoded(samples)
        try:
            features = repeating_if_it_can(lambda: self._projected(samples))
            self._mend_overflow(features, samples)
            scale.value = first_scale
            self._mend_underflow(features, samples)
            return features
        finally:
            scale.value = first_scale

    def _mend_overflow(self, features: Tensor, samples: SampleBatch) -> None:
        """Compute rows that are not finite again, with smaller and smaller loss scales."""
        scale = self.task.scale
        while scale.value > 1 and not bool(features.isfinite().all()):
            scale.value = max(1.0, scale.value / _SCALE_STEP)
            bad = ~features.isfinite().all(dim=1)
            features[bad] = self._projected(samples)[bad]

    def _mend_underflow(self, features: Tensor, samples: SampleBatch) -> None:
        """Compute rows that float16 made zero again, with a larger loss scale."""
        zero = (features == 0).all(dim=1)
        if self.task.autocast == torch.float16 and bool(zero.any()):
            self.task.scale.value *= _SCALE_OF_ZEROS
            again = self._projected(samples)
            mended = zero & again.isfinite().all(dim=1)
            features[mended] = again[mended]

    def _encoded(self, samples: SampleBatch) -> SampleBatch:
        """Return samples on the device, as the network takes them."""
        with self.task.timer.stage("copy"):
            samples = samples.to(self.device)
        with self.task.timer.stage("encode"):
            return self._encoder.encoded(samples)

    @property
    def _encoder(self) -> Denoiser:
        """Return the model with what images and conditions go through here."""
        own = self.task.denoiser
        return replace(
            own,
            first_stage=self.first_stage or own.first_stage,
            conditioner=self.conditioner or own.conditioner,
        )

    def _projected(self, samples: SampleBatch) -> Tensor:
        timer = self.task.timer
        out = torch.zeros(len(samples), self.projector.proj_dim, device=self.device)

        def receive(piece: GradientSlice) -> None:
            rows = slice(piece.first_row, piece.first_row + len(piece.block))
            with timer.stage("projection"):
                self.projector.add(piece.block, piece.offset, out[rows])

        self.engine.stream(samples, receive)
        with timer.stage("copy"):
            return out.cpu()

    def shrink(self, tried: int) -> bool:
        """Take smaller batches from now on, and fewer timesteps at a time."""
        pairs = self.engine.pairs_per_pass
        if tried == pairs == 1:
            return False
        self.batch_size = max(1, tried // 2)
        self.engine = self.engine.with_pairs_per_pass(max(1, pairs // 2))
        return True
