"""Which run is planned."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.featurizing.options import ExecutionOptions
from dtrak_stream.gram.options import GramFlags, GramOptions
from dtrak_stream.model.places import EMBEDDED_MODEL
from dtrak_stream.scoring.options import ScoreFlags, ScoreOptions
from dtrak_stream.support.cluster_options import ClusterFlags, ClusterOptions


@dataclass(frozen=True)
class PlanConfig:
    """Say what a run of dtrak-stream attribute would take, without beginning it.

    Prints a line for each stage: bytes on disk, memory, the time it would take on this machine as
    a few random images and matrix products suggest, and how it would be cut. Features and the Gram
    matrix are divided among those who share the work, whose memory is told for each and in all.
    What would be refused is said with its remedy, and ends this with exit code 2. Groups, and
    residuals of held-out images, are not counted.
    """

    train_samples: int = 1000
    """N, the number of training images."""
    query_samples: int = 16
    """Q, the number of queries."""
    model: str | tuple[str, ...] = EMBEDDED_MODEL
    """Diffusers pipeline folder with safetensors, checkpoint-N of training, or hf:OWNER/NAME (or \
the small model that comes along); several are an ensemble, or checkpoints for tracincp and gas. \
BASE+LORA is a model with a LoRA of its own, besides those of --lora. Not looked at for \
pixels and CLIP."""
    image_shape: str | None = None
    """Shape of the images, channels x height x width such as 3x32x32: needed for pixels and CLIP, \
held against the model's otherwise (default: the model's)."""
    run: Path = Path("runs/attribute")
    """Run folder that is planned for: its disk has to have the room."""
    cache_latents: Path | None = None
    """Folder in which a run would keep latents and embeddings of captions: what they will take \
of the disk is counted, of captions as if all were different."""
    measured_images: int = 16
    """Random images that are featurized at least, in batches as large as those of a run, to tell \
time and memory; 0: tell no time."""
    score_options: ScoreFlags = field(default_factory=ScoreOptions)
    features: tyro.conf.OmitArgPrefixes[FeatureOptions] = field(default_factory=FeatureOptions)
    execution: tyro.conf.OmitArgPrefixes[ExecutionOptions] = field(default_factory=ExecutionOptions)
    gram_options: GramFlags = field(default_factory=GramOptions)
    cluster: ClusterFlags = field(default_factory=ClusterOptions)
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        self.cluster.refuse_two_devices(self.features.device)
