"""CLIP features are what CLIPModel says of the same images, and say which CLIP it was."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from dtrak_stream.errors import (
    ConfigurationError,
    FingerprintMismatchError,
    InputError,
    ModelError,
)
from dtrak_stream.features.clip import ClipEncoder
from dtrak_stream.featurizing.options import ExecutionOptions
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.support.transformers_package import silenced
from tests.features.conftest import save_clip
from tests.small_jobs import fingerprint_of, random_pixels, save_images, small_job

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return save_images(tmp_path_factory.mktemp("images"), random_pixels(7))


def clip_job(clip, images, store, **changes):
    options = {"output_function": "clip", "clip": clip, "dtype": "float32", **changes}
    options.setdefault("execution", ExecutionOptions())
    return small_job("no such model", images, store, **options)


def rows_of(config):
    featurize(config)
    store = FeatureStore.open(config.store)
    return store.rows(range(len(store)))


def direct_embeddings(folder, pictures):
    """What a user of transformers would write."""
    with silenced(transformers):
        model = transformers.CLIPModel.from_pretrained(folder).eval()
        processor = transformers.CLIPImageProcessor.from_pretrained(folder)
    prepared = processor(images=pictures, return_tensors="pt")
    with torch.no_grad():
        answer = model.get_image_features(**prepared)
    return getattr(answer, "pooler_output", answer).numpy()


def test_stored_features_are_the_embeddings_of_clip_model(clip_folder, images, tmp_path):
    pictures = [Image.open(path).convert("RGB") for path in sorted(images.iterdir())]
    expected = direct_embeddings(clip_folder, pictures)
    features = rows_of(clip_job(clip_folder, images, tmp_path / "s"))
    assert features.shape == (7, 12)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


def test_colour_images_of_any_size_are_prepared_as_clip_does(clip_folder):
    pixels = np.random.default_rng(1).integers(0, 256, (2, 24, 40, 3), dtype=np.uint8)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    expected = direct_embeddings(clip_folder, [Image.fromarray(each) for each in pixels])
    found = ClipEncoder(clip_folder, CPU).encode(images).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_features_do_not_depend_on_batch_or_shard(clip_folder, images, tmp_path):
    expected = rows_of(clip_job(clip_folder, images, tmp_path / "whole"))
    for size in (1, 3, 7):
        execution = ExecutionOptions(batch_size=size)
        config = clip_job(
            clip_folder, images, tmp_path / str(size), rows_per_shard=size, execution=execution
        )
        np.testing.assert_allclose(rows_of(config), expected, rtol=1e-4, atol=1e-6)


def test_the_fingerprint_names_the_clip_and_no_denoiser(clip_folder, images, tmp_path):
    featurize(clip_job(clip_folder, images, tmp_path / "s"))
    found = fingerprint_of(tmp_path / "s")
    assert found.model.startswith("CLIPModel")
    assert found.weights == ClipEncoder(clip_folder, CPU).weights
    assert (found.timesteps, found.noise_keying, found.parameters) == ((), "none", "none")
    assert (found.projector, found.proj_dim, found.num_parameters) == ("identity", 12, 12)


def test_another_clip_is_another_store(clip_folder, images, tmp_path):
    featurize(clip_job(clip_folder, images, tmp_path / "s"))
    other = save_clip(tmp_path / "other", seed=1)
    with pytest.raises(FingerprintMismatchError, match="weights differs"):
        featurize(clip_job(other, images, tmp_path / "s"))


def test_another_preparation_is_another_store(clip_folder, images, tmp_path):
    featurize(clip_job(clip_folder, images, tmp_path / "s"))
    other = Path(shutil.copytree(clip_folder, tmp_path / "other"))
    config = other / "preprocessor_config.json"
    config.write_text(config.read_text().replace('"do_normalize": true', '"do_normalize": false'))
    with pytest.raises(FingerprintMismatchError, match="model differs"):
        featurize(clip_job(str(other), images, tmp_path / "s"))


def test_a_clip_that_cannot_be_had_is_refused_with_the_way_to_make_a_folder(images, tmp_path):
    with pytest.raises(InputError, match=r"--clip openai/clip.*--clip FOLDER.*save_pretrained"):
        featurize(clip_job("openai/clip-vit-base-patch32", images, tmp_path / "s"))
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("lost", ["model.safetensors", "config.json", "preprocessor_config.json"])
def test_a_folder_that_lacks_a_file_is_refused(clip_folder, images, tmp_path, lost):
    broken = Path(shutil.copytree(clip_folder, tmp_path / "broken"))
    (broken / lost).unlink()
    with pytest.raises(ModelError, match=r"--clip .*broken: cannot be loaded as CLIP"):
        featurize(clip_job(str(broken), images, tmp_path / "s"))


def test_a_model_without_an_image_encoder_is_refused(images, tmp_path):
    folder = save_clip(tmp_path / "text")
    weights = load_file(f"{folder}/model.safetensors")
    text = {name: tensor for name, tensor in weights.items() if "text" in name}
    save_file(text, f"{folder}/model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="holds no CLIP image encoder"):
        featurize(clip_job(folder, images, tmp_path / "s"))


def test_images_of_other_channels_are_refused(clip_folder, tmp_path):
    np.save(tmp_path / "two.npy", np.zeros((3, 8, 8, 2), np.uint8))
    with pytest.raises(ConfigurationError, match="--channels convert"):
        featurize(clip_job(clip_folder, tmp_path / "two.npy", tmp_path / "s"))


def test_without_transformers_the_package_is_named(clip_folder, images, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigurationError, match="pip install transformers"):
        featurize(clip_job(clip_folder, images, tmp_path / "s"))
