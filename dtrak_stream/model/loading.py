"""A diffusion model as attribution needs it: denoiser, noise schedule, chosen parameters.

Weights are read from safetensors only. What a model predicts (noise, velocity or the clean
image) is a property of its scheduler and is respected everywhere.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
import xxhash
from torch import Tensor, nn

from dtrak_stream.data import ImageShape
from dtrak_stream.errors import ConfigurationError, InputError, ModelError

if TYPE_CHECKING:  # importing it takes longer than all else together: only who loads a model does
    from diffusers import DDPMScheduler

PredictionType = Literal["epsilon", "v_prediction", "sample"]
PREDICTION_TYPES: tuple[PredictionType, ...] = ("epsilon", "v_prediction", "sample")
EMBEDDED_MODEL = "embedded:digits_ddpm"
EMBEDDED_FOLDER = Path(__file__).parents[1] / "embedded"
_DENOISERS = ("UNet2DModel",)


@dataclass(frozen=True)
class NoiseSchedule:
    """How noise enters an image, per timestep. All tensors are (T,) float64 on the CPU.

    Attributes
    ----------
    alphas_cumprod
        Share of signal variance kept at each timestep (abar_t).
    betas
        Variance added at each timestep.
    prediction_type
        What the denoiser is trained to predict.
    """

    alphas_cumprod: Tensor
    betas: Tensor
    prediction_type: PredictionType

    @property
    def num_timesteps(self) -> int:
        """Return T, the number of training timesteps."""
        return len(self.alphas_cumprod)

    def noisy_and_target(
        self, image: Tensor, noise: Tensor, timesteps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return x_t and what the denoiser should answer for it.

        x_t = sqrt(abar_t) x + sqrt(1 - abar_t) eps (Ho et al. 2020, eq. 4); the target is eps,
        v = sqrt(abar_t) eps - sqrt(1 - abar_t) x (Salimans and Ho 2022, appendix D), or x.

        Parameters
        ----------
        image, noise
            (B, C, H, W), or anything that broadcasts to it.
        timesteps
            (B,) int64.

        Returns
        -------
        noisy, target
            Both (B, C, H, W), in the dtype of `noise`.
        """
        kept = self.alphas_cumprod[timesteps.cpu()].to(noise.device)[:, None, None, None]
        signal, spread = kept.sqrt().to(noise.dtype), (1 - kept).sqrt().to(noise.dtype)
        noisy = signal * image + spread * noise
        if self.prediction_type == "epsilon":
            return noisy, noise
        if self.prediction_type == "v_prediction":
            return noisy, signal * noise - spread * image
        return noisy, image.expand_as(noisy)


@dataclass(frozen=True)
class Denoiser:
    """A loaded model: the network in evaluation mode and its noise schedule.

    Attributes
    ----------
    network
        Maps (x_t, timesteps) to a prediction; `.sample` of its output is (B, C, H, W).
    schedule
        The scheduler's numbers.
    scheduler_config
        The scheduler's configuration as saved, for samplers.
    class_name
        Class of the network in diffusers.
    folder
        Where it was loaded from.
    """

    network: nn.Module
    schedule: NoiseSchedule
    scheduler_config: dict[str, Any]
    class_name: str
    folder: str

    @property
    def image_shape(self) -> ImageShape:
        """Return the shape of image the model was configured for."""
        config = cast(Any, self.network).config
        size = config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        return ImageShape(channels=config.in_channels, height=height, width=width)

    @property
    def device(self) -> torch.device:
        """Return the device that holds the parameters."""
        return next(self.network.parameters()).device

    def predict(self, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """Return the network's output (B, C, H, W) for x_t (B, C, H, W) and t (B,)."""
        return cast(Tensor, self.network(noisy, timesteps, return_dict=False)[0])


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
    return Denoiser(network, _schedule_of(scheduler), dict(scheduler.config), class_name, folder)


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


def _schedule_of(scheduler: DDPMScheduler) -> NoiseSchedule:
    prediction_type = scheduler.config.prediction_type
    if prediction_type not in PREDICTION_TYPES:
        raise ModelError(
            f"unknown prediction type {prediction_type!r}",
            where="scheduler_config.json",
            remedy=f"use one of: {', '.join(PREDICTION_TYPES)}",
        )
    return NoiseSchedule(
        scheduler.alphas_cumprod.double(), scheduler.betas.double(), prediction_type
    )


def choose_parameters(network: nn.Module, choice: str) -> dict[str, nn.Parameter]:
    """Pick the parameters whose gradients are taken and freeze all others.

    Parameters
    ----------
    network
        The denoiser. `requires_grad` of its parameters is set by this call.
    choice
        `all`; `lora` (names that contain `lora_`); or a regular expression searched in the name.

    Returns
    -------
    dict
        Name to parameter, in the order of `named_parameters`: the order of the flat gradient.

    Raises
    ------
    ConfigurationError
        If nothing matches, or the regular expression is malformed.
    """
    pattern = {"all": "", "lora": r"lora_"}.get(choice, choice)
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise ConfigurationError(
            f"not a regular expression ({error})",
            where=f"--parameters {choice}",
            remedy="use all, lora, or a regular expression over parameter names",
        ) from error
    chosen = {name: p for name, p in network.named_parameters() if wanted.search(name)}
    if not chosen:
        some = ", ".join(name for name, _ in list(network.named_parameters())[:3])
        raise ConfigurationError(
            "no parameter of the model matches",
            where=f"--parameters {choice}",
            remedy=f"names look like: {some}, ...",
        )
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in chosen)
    return chosen


def needs_input_gradient(network: nn.Module, chosen: dict[str, nn.Parameter]) -> bool:
    """Return whether the gradient of the input must be computed along with the chosen ones.

    On the CPU, torch (seen in 2.13) crashes the process in the backward pass of a channels-last
    GroupNorm whose own input needs no gradient, as it happens when what comes before is frozen.
    """
    if all(parameter.requires_grad for parameter in network.parameters()):
        return False
    wanted = {id(parameter) for parameter in chosen.values()}
    norms = (module for module in network.modules() if isinstance(module, nn.GroupNorm))
    return any(id(parameter) in wanted for norm in norms for parameter in norm.parameters())


def weights_hash(network: nn.Module) -> str:
    """Return the xxh3-128 of every parameter's and buffer's name, dtype, shape and bytes."""
    digest = xxhash.xxh3_128()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return digest.hexdigest()
