"""What is featurized: images, a model of them, and the command that does it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dtrak_stream.benchmark.kills.options import KillsConfig, MethodName
from dtrak_stream.benchmark.rerun.images import save_array
from dtrak_stream.data.images import open_images
from dtrak_stream.data.options import ImageOptions, ImageShape
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.featurizing.options import ExecutionOptions, FeaturizeConfig
from dtrak_stream.methods import features_of, find_method
from dtrak_stream.model.places import EMBEDDED_MODEL
from dtrak_stream.support.durable import write_npy
from dtrak_stream.support.provenance import record_run
from dtrak_stream.training.configuration import (
    ArchitectureOptions,
    OptimisationOptions,
    TrainingConfig,
)
from dtrak_stream.training.run import train

_SHAPE = ImageShape(1, 8, 8)
_TRAINED_ON = 2000
_ARCHITECTURE = ArchitectureOptions(
    block_out_channels=(8, 16, 16), layers_per_block=1, attention_levels=(2,), norm_num_groups=8
)


@dataclass(frozen=True)
class KillsSubject:
    """Images and a model.

    Attributes
    ----------
    images
        Their source.
    image_options
        How they are brought to 8x8.
    model
        Folder of the model.
    words
        What both are, for the reader.
    """

    images: str
    image_options: ImageOptions
    model: str
    words: str

    def command(self, config: KillsConfig, method: MethodName, store: Path) -> list[str]:
        """Return the command that fills `store`, having written its options beside it."""
        features = FeatureOptions(rows_per_shard=config.rows_per_shard, device="cpu")
        job = FeaturizeConfig(
            images=self.images,
            store=store,
            model=self.model,
            limit=config.images,
            features=features_of(find_method(method), features),
            execution=ExecutionOptions(engine="hooked", batch_size=config.batch_size),
            image_options=self.image_options,
            quiet=True,
        )
        options = store.with_suffix(".yaml")
        record_run(options, job)
        return [sys.executable, "-m", "dtrak_stream", "featurize", "--config", str(options)]


def make_subject(config: KillsConfig, work: Path) -> KillsSubject:
    """Make images and model ready.

    Raises
    ------
    InputError, CorruptFileError
        If the files of Fashion-MNIST are not there, or not what they should be.
    """
    if config.fashion_mnist is None:
        images = save_array(work / "images.npy", config.images)
        return KillsSubject(
            str(images), ImageOptions(), EMBEDDED_MODEL, "random images, the model that comes along"
        )
    source = str(config.fashion_mnist / "train-images-idx3-ubyte.gz")
    shrink = ImageOptions(image_fit="crop")
    model = _trained(config, source, shrink, work)
    words = f"images of Fashion-MNIST, a small model trained on the first {_TRAINED_ON:,}"
    return KillsSubject(source, shrink, model, words)


def _trained(config: KillsConfig, source: str, shrink: ImageOptions, work: Path) -> str:
    """Return the folder of a small model of the first images."""
    images = open_images(source, _SHAPE, shrink, limit=_TRAINED_ON, visible=False)
    pixels = np.stack([images.image(row)[0].numpy() for row in range(len(images))])  # (N, 8, 8)
    write_npy(work / "trained-on.npy", np.round((pixels + 1) * 127.5).astype(np.uint8))
    job = TrainingConfig(
        images=str(work / "trained-on.npy"),
        out=work / "model",
        device="cpu",
        architecture=_ARCHITECTURE,
        optimisation=OptimisationOptions(steps=config.steps, learning_rate=0.004),
    )
    train(job, visible=False)
    return str(job.out)
