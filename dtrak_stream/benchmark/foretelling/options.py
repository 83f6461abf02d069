"""Every option of the benchmark of plans."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.support.option_values import require_number

SettingName: TypeAlias = Literal[
    "tiny", "tiny-lora", "digits-best", "digits-d-trak", "3.1M", "35.7M", "sd-1.5"
]


@dataclass(frozen=True)
class ForetellingConfig:
    """Measure how well dtrak-stream plan foretells time and memory of dtrak-stream featurize.

    Each setting is planned and then run with the same options, each in a process of its own, on
    random images. Beside them: what choosing engine and batch took of the run, in time and memory.
    Needs the extra text for sd-1.5 and tiny-lora.
    """

    settings: tuple[SettingName, ...] = (
        "digits-best",
        "digits-d-trak",
        "3.1M",
        "35.7M",
        "sd-1.5",
    )
    """digits-best, digits-d-trak: the small model that comes along, by these methods; 3.1M, \
35.7M: UNets of random weights for 32x32 RGB, by best; sd-1.5: all parts of Stable Diffusion 1.5 \
in their size, random, with a LoRA, in bfloat16; tiny, tiny-lora: to try this with."""
    images: int | None = None
    """Training images (default: by setting, 60,000 for digits-best to 3 for sd-1.5)."""
    repeats: int = 1
    """Times each is planned and run, in turns; medians are reported."""
    out: Path = Path("runs/bench/plan")
    """Results: OUT.json and OUT.md."""

    def __post_init__(self) -> None:
        require_number("--repeats", self.repeats, 1)
        require_number("--images", self.images, 1)
        if not self.settings:
            raise ConfigurationError("none", where="--settings", remedy="give at least one")
