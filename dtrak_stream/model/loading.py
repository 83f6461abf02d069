"""Loading a diffusion model from a diffusers folder. Weights are read from safetensors only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from dtrak_stream.errors import DtrakStreamError, InputError, ModelError
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.families import ConditionKind, family_of
from dtrak_stream.model.places import model_root


def load_denoiser(
    folder: str, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Denoiser:
    """Load an unconditional pixel-space diffusion model from a diffusers folder.

    Parameters
    ----------
    folder
        A pipeline folder (`model_index.json`, `unet/`, `scheduler/`), or
        `embedded:digits_ddpm` for the small model that comes with the package.
    device, dtype
        Where and in what precision the network runs. It is put in evaluation mode.

    Raises
    ------
    InputError
        If the folder does not exist or is not a diffusers pipeline.
    ModelError
        If its family is unknown, its weights are not there as safetensors or cannot be read, it
        predicts something unknown, or it is conditioned on something.
    """
    root = model_root(folder)
    family = family_of(_read_index(root), root / "model_index.json")
    if not list((root / family.part).glob("*.safetensors")):
        raise ModelError(
            "no weights in safetensors format",
            where=root / family.part,
            remedy="save the pipeline again with save_pretrained(..., safe_serialization=True)",
        )
    with _failures_explained(root):
        network = family.load(root, dtype)
        schedule, scheduler_config = family.read_schedule(root)
    _refuse_condition(family.conditioned_on(network), root)
    return Denoiser(
        network.to(device).eval(),
        schedule,
        family.image_shape(network),
        family.predict,
        family.class_name,
        folder,
        scheduler_config,
    )


def _read_index(root: Path) -> dict[str, Any]:
    path = root / "model_index.json"
    if not path.is_file():
        raise InputError(
            "no model_index.json" if root.is_dir() else "no such folder",
            where=root,
            remedy="give a diffusers pipeline folder, as dtrak-stream train or "
            "DDPMPipeline.save_pretrained writes it",
        )
    try:
        index = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"not readable as JSON ({error})", where=path, remedy="save the pipeline again"
        ) from error
    if not isinstance(index, dict):
        raise InputError("is no index of parts", where=path, remedy="save the pipeline again")
    return index


@contextmanager
def _failures_explained(root: Path) -> Iterator[None]:
    try:
        yield
    except DtrakStreamError:
        raise
    except Exception as error:  # diffusers, safetensors and torch each raise their own
        raise ModelError(
            f"cannot be loaded ({type(error).__name__}: {' '.join(str(error).split())[:300]})",
            where=root,
            remedy="check that the folder is complete, or save the pipeline again",
        ) from error


def _refuse_condition(kind: ConditionKind, root: Path) -> None:
    if kind != "nothing":
        raise ModelError(
            f"is conditioned on a {kind}, which no sample has here",
            where=root,
            remedy="give an unconditional model",
        )
