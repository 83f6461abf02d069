"""Things most tests need: a tiny model of the real class, and stores of features."""

from __future__ import annotations

import gc
import os
import signal

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from hypothesis import settings

from dtrak_stream.store.changing import appended
from dtrak_stream.store.fingerprint import Fingerprint
from dtrak_stream.store.joined_view import write_joined_view
from dtrak_stream.store.layout import StoreLayout
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.shard import pack_rows, write_shard
from dtrak_stream.store.store_set import StoreSet
from dtrak_stream.store.unfinished import ComputedRows
from dtrak_stream.store.writer import StoreWriter
from dtrak_stream.support import claims as claims_module
from dtrak_stream.support.claims import Claims

os.fsync = lambda _: None  # type: ignore[assignment]  # only a power cut shows what it is for
torch.set_num_threads(1)  # tiny models: more threads only wait for one another
# a shell starts what runs in the background with Ctrl-C ignored, and children inherit it
signal.signal(signal.SIGINT, signal.default_int_handler)
# how long an example takes tells of the machine, not of the code
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims that do not say whose they are, as of who died while making one, end soon."""
    defaults = Claims.__init__.__kwdefaults__ or {}
    monkeypatch.setitem(defaults, "patience_seconds", 0.2)
    monkeypatch.setattr(claims_module, "_POLL_SECONDS", 0.02)


def build_unet(channels: int = 1, size: int = 8, seed: int = 0) -> UNet2DModel:
    torch.manual_seed(seed)
    return UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )


def save_model(folder: Path, unet: UNet2DModel, prediction_type: str = "epsilon") -> str:
    scheduler = DDPMScheduler(num_train_timesteps=1000, prediction_type=prediction_type)
    DDPMPipeline(unet, scheduler).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(tmp_path_factory.mktemp("model"), build_unet())


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that is told one of four class labels."""
    plain = {name: value for name, value in build_unet().config.items() if name[0] != "_"}
    unet = UNet2DModel(**{**plain, "num_class_embeds": 4})
    return save_model(tmp_path_factory.mktemp("labelled"), unet)


@pytest.fixture(scope="session")
def other_model_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(tmp_path_factory.mktemp("other-model"), build_unet(seed=1))


def fingerprint_of_features(
    samples: int,
    proj_dim: int,
    *,
    dtype: str = "float32",
    rows_per_shard: int = 7,
    output_function: str = "square",
    images: str = "images",
) -> Fingerprint:
    """Return what a store of so many features of so many numbers depends on."""
    return Fingerprint(
        model="model",
        weights="weights",
        parameters="parameters",
        num_parameters=100,
        output_function=output_function,
        timesteps=(0, 500),
        noise_keying="shared",
        noise_draws=1,
        seed=0,
        projector="sketch",
        projector_version=1,
        proj_dim=proj_dim,
        image_shape="1x8x8",
        precision="float32",
        images=images,
        samples=samples,
        dtype=dtype,
        rows_per_shard=rows_per_shard,
    )


def store_of(
    root: Path,
    features: np.ndarray,
    *,
    dtype: str = "float32",
    rows_per_shard: int = 7,
    output_function: str = "square",
    images: str = "images",
) -> FeatureStore:
    """Write features (N, k) float32 as a complete store; NaN rows become quarantined ones."""
    fingerprint = fingerprint_of_features(
        *features.shape,
        dtype=dtype,
        rows_per_shard=rows_per_shard,
        output_function=output_function,
        images=images,
    )
    layout = StoreLayout(root, fingerprint)
    layout.shards_folder.mkdir(parents=True)
    from dtrak_stream.support.durable import write_json

    write_json(layout.plan_path, layout.plan())
    for shard in range(layout.num_shards):
        rows = layout.shard_rows(shard)
        ids = [f"{images}-{row}" for row in rows]
        packed = pack_rows(features[rows.start : rows.stop].astype(np.float32), ids, dtype)
        write_shard(layout.shard_path(shard), packed, fingerprint.hash())
    write_joined_view(layout)
    return FeatureStore.open(root)


def append_to(store: FeatureStore, features: np.ndarray) -> FeatureStore:
    """Append features (n, k) float32 to a store, in shards of their own."""
    before, samples = len(store), len(store) + len(features)
    images = f"{store.fingerprint.images}+{len(features)}"
    layout = appended(store.layout, images, samples)
    stores = StoreSet(layout.root, (layout,))
    with StoreWriter(stores, redo_corrupt=False, visible=False, bad_row="holds NaN") as writer:
        missing = writer.take_up()
        writer.begin()
        for shard in writer.claim_free(missing):
            rows = layout.shard_rows(shard)
            part = features[rows.start - before : rows.stop - before].astype(np.float32)
            writer.write(ComputedRows(shard, part, [f"{images}-{row}" for row in rows]))
        writer.settle()
    return FeatureStore.open(layout.root)


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., FeatureStore]:
    def make(name: str, features: np.ndarray, **options: object) -> FeatureStore:
        return store_of(tmp_path / name, features, images=name, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture
def no_old_clients() -> None:
    """Collect Dask clients that failed to connect: collected later, they can block a new one."""
    gc.collect()
