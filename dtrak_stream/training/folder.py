"""The folder of a training run: whose it is, its checkpoint, and the finished model.

OUT/fingerprint.json                     what the run is; written first
OUT/training.yaml                        the resolved options, versions and git revision
OUT/checkpoint/state.pt                  where to continue; removed at the end
OUT/quarantine.jsonl                     images that could not be used, with the reason
OUT/loss.csv                             the loss of every step
OUT/unet/, scheduler/, model_index.json  the diffusers pipeline; the last file is written last
OUT/pytorch_lora_weights.safetensors     of a LoRA, in place of a pipeline
"""

from __future__ import annotations

import csv
import io
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
import xxhash
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from dtrak_stream.errors import CorruptFileError
from dtrak_stream.model.model_folder import INDEX_FILE
from dtrak_stream.support.destinations import refuse_foreign_folder
from dtrak_stream.support.durable import remove_partials, write_bytes
from dtrak_stream.training.fingerprint import (
    FINGERPRINT_FILE,
    Fingerprint,
    begin_folder,
)

_DIGEST_BYTES = 16


class TrainingFolder:
    """Reads and writes the files of one training run.

    Parameters
    ----------
    out
        The folder.
    model_file
        What is written last.

    Raises
    ------
    InputError
        If the folder cannot be made, or holds what no command of this package began.
    """

    def __init__(self, out: Path, model_file: str = INDEX_FILE) -> None:
        self.path = out
        self._checkpoint = out / "checkpoint" / "state.pt"
        self.quarantine = out / "quarantine.jsonl"
        self._last = out / model_file
        refuse_foreign_folder(out, FINGERPRINT_FILE, flag="--out")
        for folder in (out, self._checkpoint.parent):
            remove_partials(folder)

    @property
    def finished(self) -> bool:
        """Return whether the model is there."""
        return self._last.is_file()

    def claim(self, fingerprint: Fingerprint) -> None:
        """Take the folder for the run with this fingerprint.

        Raises
        ------
        FingerprintMismatchError
            If another run began here, or begins just now: other options, or other images.
        """
        begin_folder(self.path, fingerprint)

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint by `state`, after a checksum."""
        buffer = io.BytesIO(bytes(_DIGEST_BYTES))
        buffer.seek(_DIGEST_BYTES)
        torch.save(state, buffer)
        content = buffer.getbuffer()
        content[:_DIGEST_BYTES] = xxhash.xxh3_128_digest(content[_DIGEST_BYTES:])
        write_bytes(self._checkpoint, content)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """Return the last checkpoint, on the CPU; None if there is none yet.

        Raises
        ------
        CorruptFileError
            If the file is not as it was written.
        """
        if not self._checkpoint.is_file():
            return None
        content = self._checkpoint.read_bytes()
        digest, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if xxhash.xxh3_128_digest(payload) != digest:
            raise CorruptFileError(
                "the checkpoint is truncated or does not match its checksum",
                where=self._checkpoint,
                remedy="move it away to train again from the start",
            )
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        return cast(dict[str, Any], state)

    def save_losses(self, losses: Sequence[float]) -> None:
        """Write the loss of every step that was taken."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["step", "loss"])
        table.writerows([n, loss] for n, loss in enumerate(losses, 1) if math.isfinite(loss))
        write_bytes(self.path / "loss.csv", text.getvalue().encode())

    def save_model(self, network: UNet2DModel, scheduler: DDPMScheduler) -> None:
        """Write the pipeline as `DDPMPipeline.save_pretrained` would, each file durably."""
        weights = {name: w.cpu().contiguous() for name, w in network.state_dict().items()}
        content = safetensors.torch.save(weights, metadata={"format": "pt"})
        write_bytes(self.path / "unet" / "diffusion_pytorch_model.safetensors", content)
        _write_text(self.path / "unet" / "config.json", network.to_json_string())
        _write_text(self.path / "scheduler" / "scheduler_config.json", scheduler.to_json_string())
        pipeline = DDPMPipeline(unet=network, scheduler=scheduler)
        _write_text(self._last, pipeline.to_json_string())

    def save_lora(self, content: bytes) -> None:
        """Write the file of a LoRA, durably."""
        write_bytes(self._last, content)

    def remove_checkpoint(self) -> None:
        """Remove what a finished run no longer needs."""
        if self._checkpoint.parent.exists():
            shutil.rmtree(self._checkpoint.parent)


def _write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())
