"""From images to gradient features: engine and projector as one thing, within memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dtrak_stream.data import ImageShape
from dtrak_stream.data.samples import Samples
from dtrak_stream.errors import MemoryLimitError
from dtrak_stream.features.maker import fingerprint, in_fitting_batches
from dtrak_stream.gradients import GradientEngine, GradientSlice, GradientTask, residuals
from dtrak_stream.projectors import Projector
from dtrak_stream.store import Fingerprint
from dtrak_stream.support.progress import say
from dtrak_stream.support.timing import StageTimer

_SCALE_STEP = 16.0


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
    """

    task: GradientTask
    projector: Projector
    image_shape: ImageShape
    device: torch.device
    identity: dict[str, object]
    engine: GradientEngine
    batch_size: int = 64

    @property
    def timer(self) -> StageTimer:
        """Return what adds up the time of all stages."""
        return self.task.timer

    @property
    def width(self) -> int:
        """Return how many numbers a sample becomes, under all output functions."""
        return self.projector.proj_dim

    def features(self, images: Tensor, sample_ids: Sequence[str]) -> Tensor:
        """Return the features of images (B, C, H, W) in [-1, 1]: (B, k) float32 on the CPU.

        Raises
        ------
        MemoryLimitError
            If the device has no room for one image at one timestep.
        """
        return in_fitting_batches(self, self._batch, self._shrink, images, sample_ids)

    def residuals(self, images: Tensor, sample_ids: Sequence[str], /) -> Tensor | None:
        """Return how wrong the model is about images (B, C, H, W), if gradients are of unit length.

        (B,) float32 on the CPU.
        """
        if not self.task.unit_gradients:
            return None
        # a forward pass alone needs less memory than the features of the same images did
        rows = [slice(i, i + self.batch_size) for i in range(0, len(images), self.batch_size)]
        pairs = self.engine.pairs_per_pass
        parts = [residuals(self.task, images[each], sample_ids[each], pairs) for each in rows]
        return torch.cat(parts)

    def fingerprints(
        self, samples: Samples, dtype: str, rows_per_shard: int
    ) -> tuple[Fingerprint, ...]:
        """Return what the features depend on; see `FeatureMaker.fingerprints`."""
        names = [function.name for function in self.task.output_functions]
        identities = [{"output_function": name, **self.identity} for name in names]
        return tuple(fingerprint(each, samples, dtype, rows_per_shard) for each in identities)

    def close(self) -> None:
        """Leave the network as it was found."""
        self.engine.close()

    def _batch(self, images: Tensor, sample_ids: Sequence[str]) -> Tensor:
        """Compute one batch; rows that overflow in half precision again with a smaller scale."""
        scale = self.task.scale
        first_scale = scale.value
        try:
            features = self._projected(images, sample_ids)
            while scale.value > 1 and not bool(features.isfinite().all()):
                scale.value = max(1.0, scale.value / _SCALE_STEP)
                bad = ~features.isfinite().all(dim=1)
                features[bad] = self._projected(images, sample_ids)[bad]
            return features
        finally:
            scale.value = first_scale

    def _projected(self, images: Tensor, sample_ids: Sequence[str]) -> Tensor:
        timer = self.task.timer
        out = torch.zeros(len(images), self.projector.proj_dim, device=self.device)

        def receive(piece: GradientSlice) -> None:
            rows = slice(piece.first_row, piece.first_row + len(piece.block))
            with timer.stage("projection"):
                self.projector.add(piece.block, piece.offset, out[rows])

        with timer.stage("copy"):
            images = images.to(self.device)
        self.engine.stream(images, sample_ids, receive)
        with timer.stage("copy"):
            return out.cpu()

    def _shrink(self, tried: int, error: RuntimeError) -> None:
        """Take smaller batches from now on, or fewer timesteps at a time."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        pairs = self.engine.pairs_per_pass
        if tried == 1 and pairs == 1:
            raise MemoryLimitError(
                "one image at one timestep does not fit in the memory of the device",
                where=f"--device {self.device}",
                remedy="free its memory, or use a smaller --proj-dim, fewer --parameters or "
                "--device cpu",
            ) from error
        self.batch_size = max(1, tried // 2)
        self.engine = self.engine.with_pairs_per_pass(max(1, pairs // 2))
        say(f"out of memory: going on with batches of {self.batch_size}")
