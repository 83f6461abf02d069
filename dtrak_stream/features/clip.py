"""CLIP image embeddings (Radford et al. 2021), by the implementation in transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
import xxhash
from PIL import Image
from torch import Tensor, nn

from dtrak_stream.errors import DtrakStreamError, InputError, ModelError
from dtrak_stream.model.parameters import weights_hash
from dtrak_stream.support.device import moved
from dtrak_stream.support.transformers_package import silenced, transformers_package

_DECIDES_EMBEDDING = ("hidden_act", "layer_norm_eps", "num_attention_heads", "patch_size")
_DECIDES_PREPARATION = (
    "do_resize",
    "size",
    "resample",
    "do_center_crop",
    "crop_size",
    "do_rescale",
    "rescale_factor",
    "do_normalize",
    "image_mean",
    "image_std",
)
_SAVING = (
    "where the hub can be reached: CLIPModel.from_pretrained(ID).save_pretrained(FOLDER) and "
    "CLIPImageProcessor.from_pretrained(ID).save_pretrained(FOLDER)"
)


class ClipEncoder:
    """Embeds images as `CLIPModel.get_image_features` does, after CLIP's own preprocessing.

    Images are rounded to the 8 bits a channel that the preprocessing takes, grayscale is
    repeated in three channels, and then they are resized, cropped and normalised as the
    model's `preprocessor_config.json` says, by Pillow on every machine.

    Parameters
    ----------
    name
        A folder with `config.json`, weights and `preprocessor_config.json`, or a hub id.
    device
        Where the model runs.

    Raises
    ------
    InputError
        If there is no such folder, and no such model can be had from the hub.
    ModelError
        If the folder cannot be loaded, or does not hold all weights of a CLIP image encoder.
    ConfigurationError
        If transformers is not installed.
    """

    name: ClassVar[str] = "clip"

    def __init__(self, name: str, device: torch.device) -> None:
        self._device = device
        model, self._processor = _load(name)
        parts = {"vision": model.vision_model, "projection": model.visual_projection}
        self._vision = model.config.vision_config.to_dict()
        self._parts = nn.ModuleDict(parts).to(device).eval()
        self.length: int = model.visual_projection.out_features
        self.weights = weights_hash(self._parts)
        self.weight_bytes = sum(p.numel() * p.element_size() for p in self._parts.parameters())

    @property
    def model(self) -> str:
        """Return what decides an embedding besides the weights."""
        decided = {name: self._vision[name] for name in _DECIDES_EMBEDDING}
        preparation = self._processor.to_dict()
        decided |= {name: preparation.get(name) for name in _DECIDES_PREPARATION}
        digest = xxhash.xxh3_64_hexdigest(json.dumps(decided, sort_keys=True).encode())
        return f"CLIPModel, layers and preprocessing {digest}"

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """Return the embeddings of images (B, C, H, W) in [-1, 1], C 1 or 3: (B, length)."""
        pixels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        pixels = pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1)  # (B, H, W, 3)
        pictures = [Image.fromarray(each.numpy()) for each in pixels]
        prepared = self._processor(images=pictures, return_tensors="pt")["pixel_values"]
        pooled = self._parts["vision"](pixel_values=moved(prepared, self._device)).pooler_output
        return cast(Tensor, self._parts["projection"](pooled)).float()  # (B, D) -> (B, length)


def _load(name: str) -> tuple[Any, Any]:
    """Return the model and its image processor."""
    transformers = transformers_package(
        where=f"--clip {name}", remedy="pip install transformers, or leave CLIP out"
    )
    # the default class resizes by torchvision where that is installed, which gives other bits
    has_pillow_class = hasattr(transformers, "CLIPImageProcessorPil")
    name_of_class = "CLIPImageProcessorPil" if has_pillow_class else "CLIPImageProcessor"
    processors = getattr(transformers, name_of_class)
    try:
        with silenced(transformers):
            model, loading = transformers.CLIPModel.from_pretrained(
                name, dtype=torch.float32, output_loading_info=True
            )
            processor = processors.from_pretrained(name)
    except Exception as error:  # transformers, safetensors and the hub each raise their own
        raise _refusal(name, error) from error
    missing = [key for key in loading["missing_keys"] if key.startswith("vi")]
    if missing:
        raise ModelError(
            f"holds no CLIP image encoder: {len(missing)} tensors such as {missing[0]} are missing",
            where=f"--clip {name}",
            remedy="give the folder of a CLIPModel",
        )
    return model, processor


def _refusal(name: str, error: Exception) -> DtrakStreamError:
    reason = " ".join(str(error).split())[:200]
    if Path(name).is_dir():
        return ModelError(
            f"cannot be loaded as CLIP ({type(error).__name__}: {reason})",
            where=f"--clip {name}",
            remedy="give a folder with config.json, model.safetensors and "
            f"preprocessor_config.json, as written, {_SAVING}",
        )
    return InputError(
        "no such folder here, and the hub cannot be reached or has no such model "
        f"({type(error).__name__})",
        where=f"--clip {name}",
        remedy=f"give a local folder, --clip FOLDER, made {_SAVING}",
    )
