"""Every option of the benchmark of the main job."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from dtrak_stream.data.options import ImageFlags, ImageOptions
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.model.places import EMBEDDED_MODEL
from dtrak_stream.scoring.options import ScoreFlags, ScoreOptions
from dtrak_stream.support.option_values import require_number


@dataclass(frozen=True)
class MainJobConfig:
    """Measure time and memory of every stage of the main job, and check it on known answers.

    Each stage is one run of its command in a process of its own, in a fresh temporary folder. Start
    and imports are measured apart, by running the imports of the same command alone. Then the first
    training images are attributed as queries: their strongest proponent should be themselves.
    """

    model: str = EMBEDDED_MODEL
    """Diffusers pipeline folder with safetensors (or the small model that comes along)."""
    train: str = "sklearn:digits[:1000]"
    """Training images; sources as for dtrak-stream attribute."""
    query: str = "sklearn:digits[1000:1200]"
    """Images to explain."""
    out: Path = Path("runs/bench/main-job")
    """Results: OUT.json and OUT.md."""
    repeats: int = 3
    """Times every stage is run; medians are reported."""
    self_queries: int = 200
    """Training images, the first ones, that are also attributed as queries; 0: none."""
    score_options: ScoreFlags = field(default_factory=ScoreOptions)
    features: tyro.conf.OmitArgPrefixes[FeatureOptions] = field(default_factory=FeatureOptions)
    image_options: ImageFlags = field(default_factory=ImageOptions)
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        for flag, value, least in (
            ("--repeats", self.repeats, 1),
            ("--self-queries", self.self_queries, 0),
        ):
            require_number(flag, value, least)
