"""One pass through a network before anything is computed of it: does it answer as a model must?"""

from __future__ import annotations

import torch
from torch import Tensor

from dtrak_stream.errors import MemoryLimitError, ModelError
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.half_precision import autocast_to
from dtrak_stream.model.parameters import refuse_weights_not_finite
from dtrak_stream.support.arithmetic import repeatable
from dtrak_stream.support.memory import is_out_of_memory


def refuse_unlike_model(denoiser: Denoiser, half: torch.dtype | None = None) -> None:
    """Ask a model about one image at its first and its last timestep.

    Parameters
    ----------
    denoiser
        The model.
    half
        The half-precision type that its network runs in; None for its own type.

    Raises
    ------
    ModelError
        If its weights or its answers are not finite, it cannot be asked with a sample and a
        timestep alone, or its answer has not the shape of what it should predict.
    MemoryLimitError
        If the device has no room for one sample.
    """
    refuse_weights_not_finite(denoiser.network, denoiser.folder)
    for timestep in (0, denoiser.schedule.num_timesteps - 1):
        answer = _ask(denoiser, timestep, half)  # one at a time: there may be room for no more
        _refuse_other_channels(denoiser, answer)
        if not bool(answer.isfinite().all()):
            raise _not_finite(denoiser, timestep)


@torch.inference_mode()
def _ask(denoiser: Denoiser, timestep: int, half: torch.dtype | None) -> Tensor:
    """Return what the network answers for one sample that has all values from -1 to 1."""
    shape = denoiser.sample_shape
    device, own = denoiser.device, next(denoiser.network.parameters()).dtype
    dtype = own if half is None else torch.float32
    numbers = shape.channels * shape.height * shape.width
    ramp = torch.linspace(-1, 1, numbers, device=device, dtype=dtype)
    image = ramp.reshape(1, shape.channels, shape.height, shape.width)
    times = torch.tensor([timestep], device=device)
    try:
        with repeatable(device), autocast_to(half, device):
            return denoiser.answer(image, times, denoiser.made_up(1).inputs)
    except Exception as error:  # whatever a network says of what it lacks
        if is_out_of_memory(error):
            raise MemoryLimitError(
                f"there is no room for one sample of {shape}",
                where=denoiser.folder,
                remedy="use --device cpu, or a device with more memory",
            ) from error
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"does not answer for a sample of {shape} and a timestep "
            f"({type(error).__name__}: {reason})",
            where=denoiser.folder,
            remedy="give a model whose network takes what its pipeline has parts for",
        ) from error


def _refuse_other_channels(denoiser: Denoiser, answer: Tensor) -> None:
    shape = denoiser.sample_shape
    channels = shape.channels * (2 if denoiser.learns_variance else 1)
    wanted = (channels, shape.height, shape.width)
    if tuple(answer.shape[1:]) == wanted:
        return
    found = "x".join(map(str, answer.shape[1:]))
    learned = "with" if denoiser.learns_variance else "without"
    raise ModelError(
        f"answers {found} numbers for a sample of {shape}, and {'x'.join(map(str, wanted))} are "
        f"wanted {learned} a learned variance",
        where=denoiser.folder,
        remedy="set variance_type of the scheduler to what the model was trained with: learned or "
        "learned_range where it answers twice the channels, fixed_small where as many",
    )


def _not_finite(denoiser: Denoiser, timestep: int) -> ModelError:
    embedding = getattr(getattr(denoiser.network, "config", None), "time_embedding_type", None)
    if embedding == "fourier" and timestep == 0:
        return ModelError(
            "its Fourier embedding takes the logarithm of the timestep, which is not finite at 0: "
            "it was not trained at the timesteps of a DDPM",
            where=denoiser.folder,
            remedy="give a model whose scheduler is that of its training",
        )
    return ModelError(
        f"answers with numbers that are not finite at timestep {timestep}",
        where=denoiser.folder,
        remedy="check its weights, or take a checkpoint from before its training diverged",
    )
