"""What featurizing is given, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from dtrak_stream.data import ImageOptions
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.featurizing.execution import ExecutionOptions
from dtrak_stream.model.loading import EMBEDDED_MODEL


@dataclass(frozen=True)
class FeaturizeConfig:
    """Compute the features of images under a diffusion model and store them, resumably.

    Stop it at any moment, even with kill -9, and run the same command again: it goes on with the
    first missing shard, and the result is the same to the byte.
    """

    images: str
    """Images: a folder, FILE.npz:KEY, FILE.npy, FILE.h5:KEY, a datasets folder, parquet, tar, \
hf:OWNER/NAME or sklearn:digits; [a:b] at the end takes a range."""
    store: Path
    """Folder of the feature store to write, or to continue; with --output-function probe(J), \
folder of the J stores probe-000, probe-001 ..."""
    model: str = EMBEDDED_MODEL
    """Diffusers pipeline folder with safetensors (or the small model that comes along). Image \
features (--output-function pixels, clip) need none."""
    limit: int | None = None
    """Use only the first so many images."""
    trajectory: Path | None = None
    """Sampling paths of the images, for --output-function trajectory(...): the folder that \
dtrak-stream generate --save-trajectory wrote."""
    redo_corrupt: bool = False
    """Compute shards again that are truncated or fail their checksum, instead of refusing."""
    rehash: bool = False
    """Read images, model and shards again even where no file changed since they were checked."""
    features: tyro.conf.OmitArgPrefixes[FeatureOptions] = field(default_factory=FeatureOptions)
    execution: tyro.conf.OmitArgPrefixes[ExecutionOptions] = field(default_factory=ExecutionOptions)
    image_options: tyro.conf.OmitArgPrefixes[ImageOptions] = field(default_factory=ImageOptions)
    quiet: bool = False
    """Draw no progress bars."""


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
