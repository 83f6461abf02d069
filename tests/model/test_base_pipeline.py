"""A network alone takes what comes before it from the pipeline it was trained from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import dtrak_stream
from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.errors import ConfigurationError, DtrakStreamError, InputError, ModelError
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.options import LoadingOptions
from tests.attribution.jobs import job
from tests.conftest import build_unet, save_model
from tests.featurizing.test_captions import save_captioned
from tests.model.flow_pipelines import sd3
from tests.model.folders import editing
from tests.model.pipelines import save_ldm
from tests.model.text_pipelines import TEXTS, stable_diffusion

CAPTIONS = ("a cat", "a dog", "two dogs")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("base")
    stable_diffusion(folder)
    return str(folder / "pipeline")


@pytest.fixture(scope="module")
def alone(base, tmp_path_factory) -> Path:
    """A checkpoint of training that lies elsewhere."""
    folder: Path = tmp_path_factory.mktemp("alone") / "checkpoint-7" / "unet"
    shutil.copytree(Path(base) / "unet", folder)
    return folder


@pytest.mark.parametrize("place", ["unet", "checkpoint-7"])
def test_a_network_alone_with_its_base_is_the_whole_model(base, alone, place):
    whole = load_denoiser(base)
    folder = alone if place == "unet" else alone.parent
    found = load_denoiser(str(folder), LoadingOptions(base=base))
    assert found.identity == whole.identity
    assert f", other parts of {base}, " in found.description
    samples = SampleBatch(("a", "b", "c"), torch.rand(3, 3, 16, 16) * 2 - 1, TEXTS)
    ours, theirs = found.encoded(samples), whole.encoded(samples)
    times = torch.tensor([1, 20, 300])
    expected = whole.predict(theirs.tensors, times, theirs.inputs)
    assert torch.equal(found.predict(ours.tensors, times, ours.inputs), expected)


def test_a_scheduler_beside_the_network_goes_before_that_of_the_base(base, alone, tmp_path):
    folder = shutil.copytree(alone, tmp_path / "run" / "unet").parent
    shutil.copytree(Path(base) / "scheduler", folder / "scheduler")
    with editing(folder / "scheduler" / "scheduler_config.json") as config:
        config["prediction_type"] = "v_prediction"
    found = load_denoiser(str(folder), LoadingOptions(base=base))
    assert "predicts v_prediction" in found.description


def test_a_run_notices_that_its_base_was_changed(base, alone, tmp_path):
    copied = shutil.copytree(base, tmp_path / "base")
    images = save_captioned(tmp_path / "images", CAPTIONS)
    config = job(str(alone), (images, images), tmp_path / "run", base=str(copied), timesteps="1")
    dtrak_stream.attribute(config)
    with editing(copied / "scheduler" / "scheduler_config.json") as scheduler:
        scheduler["beta_end"] = 0.013
    with pytest.raises(DtrakStreamError, match="model"):
        dtrak_stream.attribute(config)


def test_without_a_base_the_remedy_names_it(alone):
    with pytest.raises(InputError, match="or as --base the one that it was trained from"):
        load_denoiser(str(alone))


def test_another_base_is_refused_by_name(base, alone, tmp_path):
    save_ldm(tmp_path / "ldm")
    sd3(tmp_path / "sd3", t5=False)
    wider = shutil.copytree(base, tmp_path / "wider")
    with editing(wider / "unet" / "config.json") as config:
        config["cross_attention_dim"] = 12
    pixels = save_model(tmp_path / "pixels", build_unet())
    for given, kind, words in (
        (str(tmp_path / "gone"), InputError, "gone: no such folder; give as --base"),
        (str(alone), InputError, "unet: no model_index.json; give as --base"),
        (str(tmp_path / "ldm"), ModelError, "is a UNet2DModel, and a UNet2DConditionModel is"),
        (str(tmp_path / "sd3" / "pipeline"), ModelError, "its network is a SD3Transformer2DModel"),
        (str(wider), ModelError, "cross_attention_dim of its network is 12, and 8 of the one"),
        (pixels, ModelError, "is a UNet2DModel"),
    ):
        with pytest.raises(kind, match=words):
            load_denoiser(str(alone), LoadingOptions(base=given))
    for whole in (base, f"{base}/unet"):
        with pytest.raises(ConfigurationError, match=r"--base .*has all parts of its own"):
            load_denoiser(whole, LoadingOptions(base=str(tmp_path / "ldm")))
