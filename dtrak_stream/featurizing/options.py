"""What featurizing is given, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dtrak_stream.data.condition_options import ConditionFlags, ConditionOptions
from dtrak_stream.data.kinds import SOURCE_HELP
from dtrak_stream.data.options import ImageFlags, ImageOptions
from dtrak_stream.data.spec import require_limit
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.model.places import EMBEDDED_MODEL
from dtrak_stream.support.cluster_options import ClusterFlags, ClusterOptions
from dtrak_stream.support.option_values import own_folders


@dataclass(frozen=True)
class ExecutionOptions:
    """How featurizing is executed. Features do not depend on it beyond rounding."""

    engine: Literal["auto", "hooked", "timestep-batched"] = "auto"
    """Gradient engine: hooked takes many images at a time; timestep-batched one, and any model; \
auto times both on the first images where it is not known which is faster."""
    batch_size: int | None = None
    """Images in one pass of the model (default: as many as keep memory busy: 256 MiB \
on a CPU, 4 GiB on a GPU)."""
    compile: bool = False
    """Run the timestep-batched engine through torch.compile: for long runs on a GPU, as compiling \
takes minutes; no gain was seen on CPUs."""

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise ConfigurationError(
                f"{self.batch_size} is not a number of images",
                where="--batch-size",
                remedy="give a whole number of at least 1, or leave it out",
            )
        if self.compile and self.engine == "hooked":
            raise ConfigurationError(
                "the hooked engine looks into single layers, which compiling takes away",
                where="--compile --engine hooked",
                remedy="use --engine timestep-batched, or auto to measure both",
            )


@dataclass(frozen=True)
class FeaturizeConfig:
    """Compute the features of images under a diffusion model and store them, resumably.

    Stop it at any moment, even with kill -9, and run the same command again: it goes on with the
    first missing shard, and the result is the same to the byte.
    """

    images: Annotated[str, tyro.conf.arg(help=f"Images: {SOURCE_HELP}")]
    """Images: any row of the table of kinds of sources."""
    store: Path = field(metadata=own_folders())
    """Folder of the feature store to write, or to continue; with --output-function probe(J), \
folder of the J stores probe-000, probe-001 ..."""
    model: str = EMBEDDED_MODEL
    """Diffusers pipeline folder with safetensors, checkpoint-N of training, or hf:OWNER/NAME (or \
the small model that comes along). BASE+LORA is a model with a LoRA of its own, its file or the \
folder of its training, besides those of --lora. Image features (--output-function pixels, clip) \
need none."""
    limit: int | None = None
    """Use only the first so many images."""
    trajectory: Path | None = None
    """Sampling paths of the images, for --output-function trajectory(...): the folder that \
dtrak-stream generate --save-trajectory wrote."""
    cache_latents: Path | None = field(default=None, metadata=own_folders())
    """Folder that keeps what a model of latents makes of images and captions, for other \
featurizations of them: no image is decoded or encoded twice. Goes on where it was stopped. Takes \
66 KB an image of 512 pixels (SD 1.x, 4 x 64 x 64 numbers of 4 bytes), and for each different \
caption 237 KB (SD 1.x), 636 KB (SDXL) or 2 to 5 MB (T5, 120 or 300 x 4096)."""
    append: bool = False
    """Append to the store what --images has more than it: its images must be the first ones there,
    unchanged, and the others come last. Only those are featurized."""
    redo_corrupt: bool = False
    """Compute shards again that are truncated or fail their checksum, instead of refusing."""
    rehash: bool = False
    """Read images, model and shards again even where no file changed since they were checked."""
    features: tyro.conf.OmitArgPrefixes[FeatureOptions] = field(default_factory=FeatureOptions)
    execution: tyro.conf.OmitArgPrefixes[ExecutionOptions] = field(default_factory=ExecutionOptions)
    image_options: ImageFlags = field(default_factory=ImageOptions)
    condition_options: ConditionFlags = field(default_factory=ConditionOptions)
    cluster: ClusterFlags = field(default_factory=ClusterOptions)
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        require_limit(self.limit)
        self.cluster.refuse_two_devices(self.features.device)


@dataclass(frozen=True)
class FeaturizeResult:
    """What featurizing did.

    Attributes
    ----------
    path
        Folder of the store.
    quarantined
        Number of samples without a feature.
    computed
        Number of images featurized by this call; 0 if the store was already complete.
    """

    path: Path
    quarantined: int
    computed: int
