"""Loading a diffusion model from a diffusers folder. Weights are read from safetensors only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from dtrak_stream.errors import InputError, ModelError
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.schedule import DDPMSchedule

if TYPE_CHECKING:  # importing it takes longer than all else together: only who loads a model does
    from diffusers import DDPMScheduler

EMBEDDED_MODEL = "embedded:digits_ddpm"
EMBEDDED_FOLDER = Path(__file__).parents[1] / "embedded"
_DENOISERS = ("UNet2DModel",)


def model_root(folder: str) -> Path:
    """Return the pipeline folder that `folder` names: a path, or the model that comes along."""
    return EMBEDDED_FOLDER / folder.partition(":")[2] if folder == EMBEDDED_MODEL else Path(folder)


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
        If the denoiser's class is unknown, or its weights are not there as safetensors.
    """
    root = model_root(folder)
    index = _read_index(root)
    class_name = _denoiser_class(index, root)
    weights_folder = root / "unet"
    if not list(weights_folder.glob("*.safetensors")):
        raise ModelError(
            "no weights in safetensors format",
            where=weights_folder,
            remedy="save the pipeline again with save_pretrained(..., safe_serialization=True)",
        )
    network, scheduler = _load_parts(root, class_name, dtype)
    network.to(device).eval()
    return Denoiser(network, DDPMSchedule.of(scheduler), dict(scheduler.config), class_name, folder)


def _read_index(root: Path) -> dict[str, Any]:
    path = root / "model_index.json"
    if not path.is_file():
        raise InputError(
            "no model_index.json" if root.is_dir() else "no such folder",
            where=root,
            remedy="give a diffusers pipeline folder, as tools/train.py or "
            "DDPMPipeline.save_pretrained writes it",
        )
    try:
        return cast(dict[str, Any], json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise InputError(
            f"not readable as JSON ({error})", where=path, remedy="save the pipeline again"
        ) from error


def _denoiser_class(index: dict[str, Any], root: Path) -> str:
    class_name = (index.get("unet") or index.get("transformer") or [None, None])[1]
    if class_name not in _DENOISERS:
        raise ModelError(
            f"unknown denoiser class {class_name}",
            where=root / "model_index.json",
            remedy=f"give a pipeline whose denoiser is one of: {', '.join(_DENOISERS)}",
        )
    return cast(str, class_name)


def _load_parts(root: Path, class_name: str, dtype: torch.dtype) -> tuple[nn.Module, DDPMScheduler]:
    import diffusers

    try:
        network = getattr(diffusers, class_name).from_pretrained(
            root,
            subfolder="unet",
            torch_dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,  # the other way needs one more package for no gain here
        )
        scheduler = diffusers.DDPMScheduler.from_pretrained(root, subfolder="scheduler")
    except Exception as error:  # diffusers, safetensors and torch each raise their own
        raise ModelError(
            f"cannot be loaded ({type(error).__name__}: {' '.join(str(error).split())[:300]})",
            where=root,
            remedy="check that the folder is complete, or save the pipeline again",
        ) from error
    return network, scheduler
