"""Flow matching: image and noise are mixed on a straight line, and the direction is predicted.

Esser et al. 2024 (Stable Diffusion 3): x_t = (1 - sigma) x + sigma eps, and the network answers
eps - x. Timestep i of T, counted from the image to the noise, is the scheduler's own i-th noise
level: (i + 1) / T, shifted towards the noise as the pipeline shifts it when it makes images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import Tensor

from dtrak_stream.errors import ModelError
from dtrak_stream.model.config_files import read_config, saved_class
from dtrak_stream.model.saved_schedule import FILE_NAME, SavedSchedule
from dtrak_stream.support.device import moved

FLOW_MATCHING = "FlowMatchEulerDiscreteScheduler"
_TIMESTEPS, _SHIFT = 1000, 1.0  # what diffusers takes where a file does not say
_SHORT, _LONG = (256, 0.5), (4096, 1.15)  # tokens of an image, and the shift at so many
# under other values the levels are not those below, or the network is asked otherwise
_UNDERSTOOD: dict[str, tuple[object, ...]] = {
    "invert_sigmas": (False, None),
    "shift_terminal": (None,),
    "use_karras_sigmas": (False, None),
    "use_exponential_sigmas": (False, None),
    "use_beta_sigmas": (False, None),
    "stochastic_sampling": (False, True, None),
    "time_shift_type": ("exponential", "linear", None),
}
_READ = frozenset(
    {
        *("num_train_timesteps", "shift", "use_dynamic_shifting", "base_shift", "max_shift"),
        *("base_image_seq_len", "max_image_seq_len"),
    }
)


@dataclass(frozen=True)
class FlowMatchingSchedule:
    """Noise on a straight line.

    Attributes
    ----------
    sigmas
        Share of noise at each timestep, (T,) float64 on the CPU, rising to 1.
    """

    sigmas: Tensor
    _elsewhere: dict[torch.device, Tensor] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def num_timesteps(self) -> int:
        """Return T."""
        return len(self.sigmas)

    @property
    def identity(self) -> str:
        """Return a hash of all levels."""
        return f"flow matching, schedule {xxhash.xxh3_64_hexdigest(self.sigmas.numpy().tobytes())}"

    def noisy_and_target(
        self, image: Tensor, noise: Tensor, timesteps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return x_t = (1 - sigma) x + sigma eps, and eps - x; see `NoiseSchedule`."""
        share = self._at(timesteps)[:, None, None, None]  # (B,) -> (B, 1, 1, 1)
        noisy = (1 - share).to(noise.dtype) * image + share.to(noise.dtype) * noise
        return noisy, noise - image

    def network_times(self, timesteps: Tensor) -> Tensor:
        """Return sigma T, as diffusers' networks are told it: (B,) float32."""
        return (self._at(timesteps) * self.num_timesteps).float()

    def elbo_weight(self, timesteps: Tensor) -> Tensor:
        """Return NaN: the loss of flow matching is a term of no variational bound of DDPM's."""
        return torch.full_like(self._at(timesteps), math.nan)

    def _at(self, timesteps: Tensor) -> Tensor:
        """Return sigma (B,), looked up where `timesteps` (B,) are."""
        device = timesteps.device
        if device not in self._elsewhere:
            with torch.inference_mode(False):  # what is kept must serve gradients too
                self._elsewhere[device] = moved(self.sigmas, device)
        return self._elsewhere[device][timesteps]


def read_flow_schedule(folder: Path, tokens: int) -> SavedSchedule:
    """Read the scheduler that was saved in `folder`.

    Parameters
    ----------
    folder
        Of the scheduler.
    tokens
        How many the transformer makes of one image: the shift of some grows with it.

    Raises
    ------
    InputError
        If there is no readable configuration.
    ModelError
        If it is of another class, or an option has no known value.
    """
    path = folder / FILE_NAME
    saved = read_config(path, what="configuration of a scheduler")
    name = saved_class(saved)
    options = {key: value for key, value in saved.items() if not key.startswith("_")}
    if name != FLOW_MATCHING:
        problem = f"{name} is not of flow matching" if name else "names no class (_class_name)"
    elif strange := _not_understood(options):
        problem = f"{strange} is not understood"
    else:
        sigmas, shift = _levels(options, tokens, path)
        return SavedSchedule(
            FlowMatchingSchedule(sigmas),
            options,
            learns_variance=False,
            predicts="velocity (noise minus sample)",
            description=f"flow matching over {len(sigmas):,} timesteps, {shift} ({name})",
        )
    raise ModelError(problem, where=path, remedy=f"save the {FLOW_MATCHING} of its training")


def _not_understood(options: dict[str, Any]) -> str:
    """Return the first option that would change the levels in a way not known here."""
    for key, value in options.items():
        known = key in _READ or value in _UNDERSTOOD.get(key, (False, None))
        if not known:
            return f"{key}: {value!r}"
    return ""


def _levels(options: dict[str, Any], tokens: int, path: Path) -> tuple[Tensor, str]:
    """Return sigma of each timestep, (T,) float64, and how they are shifted, in words."""
    count = options.get("num_train_timesteps", _TIMESTEPS)
    if not isinstance(count, int) or not 1 <= count < 2**16:
        raise ModelError(
            f"num_train_timesteps: {count!r} is no number of timesteps",
            where=path,
            remedy="write the number of its training there, such as 1000",
        )
    plain = torch.arange(1, count + 1, dtype=torch.float64) / count
    if options.get("use_dynamic_shifting"):
        power, words = _dynamic_shift(options, tokens)
    else:
        power = options.get("shift", _SHIFT)
        words = f"shifted by {power}"
    if not isinstance(power, int | float) or not math.isfinite(power) or power <= 0:
        raise ModelError(
            f"a shift of {power!r} keeps no levels apart",
            where=path,
            remedy="write the shift of its training there, a number above 0 (3 for SD3)",
        )
    # sigma / (1 - sigma) is multiplied by the shift
    return power * plain / (1 + (power - 1) * plain), words


def _dynamic_shift(options: dict[str, Any], tokens: int) -> tuple[float, str]:
    """Return the shift for so many tokens: linear in them, in its logarithm if it says nothing."""
    short = options.get("base_image_seq_len") or _SHORT[0]
    long = options.get("max_image_seq_len") or _LONG[0]
    least, most = options.get("base_shift", _SHORT[1]), options.get("max_shift", _LONG[1])
    grown = least + (most - least) * (tokens - short) / (long - short)
    linear = options.get("time_shift_type") == "linear"
    return (grown if linear else math.exp(grown)), f"shifted for {tokens:,} tokens"
