"""Images of a model with a LoRA, or with averaged weights, and what becomes of them afterwards."""

from __future__ import annotations

import shutil
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

import dtrak_stream
from dtrak_stream.errors import ConfigurationError, FingerprintMismatchError, InputError
from dtrak_stream.generation.run import generate
from dtrak_stream.model.loading import load_denoiser
from tests.attribution.jobs import datasets, job
from tests.attribution.test_families_end_to_end import sources_for
from tests.generation.small_runs import made
from tests.generation.test_prompted import by_hand, pixels_in, run_of
from tests.model.folders import editing_weights
from tests.model.test_lora_gradients import adapted
from tests.model.text_pipelines import stable_diffusion


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model, and the file of a LoRA on it."""
    folder = tmp_path_factory.mktemp("base")
    network = stable_diffusion(folder).unet
    factors = adapted(network, 1, targets=["to_q", "to_v"], alpha=40)
    diffusers.StableDiffusionPipeline.save_lora_weights(folder / "lora", unet_lora_layers=factors)
    return str(folder / "pipeline"), str(folder / "lora")


def test_a_lora_changes_images_as_it_does_in_diffusers(base, tmp_path):
    model, lora = base
    plain = made(run_of(model, tmp_path / "plain"))
    whole = made(run_of(model, tmp_path / "whole", lora=(lora,)))
    half = made(run_of(model, tmp_path / "half", lora=(lora,), lora_scale=(0.5,)))
    none = made(run_of(model, tmp_path / "none", lora=(lora,), lora_scale=(0.0,)))
    assert none == plain
    assert len({*plain.values(), *whole.values(), *half.values()}) == 6
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(model)
    pipeline.load_lora_weights(lora, adapter_name="own")
    for name, scale in (("whole", 1.0), ("half", 0.5)):
        pipeline.set_adapters(["own"], [scale])
        theirs = by_hand(pipeline, "sd", tmp_path / name)
        np.testing.assert_allclose(pixels_in(tmp_path / name), theirs, atol=1)


def test_a_model_may_be_named_with_its_lora(base, tmp_path):
    model, lora = base
    named = made(run_of(f"{model}+{lora}", tmp_path / "named"))
    assert named == made(run_of(model, tmp_path / "given", lora=(lora,)))
    with pytest.raises(FingerprintMismatchError, match="weights differs"):
        generate(run_of(model, tmp_path / "named"), visible=False)


def test_a_network_alone_makes_the_images_of_its_base(base, tmp_path):
    model, lora = base
    alone = shutil.copytree(Path(model) / "unet", tmp_path / "alone")
    whole = made(run_of(model, tmp_path / "whole", lora=(lora,)))
    assert made(run_of(str(alone), tmp_path / "part", base=model, lora=(lora,))) == whole
    again = run_of(model, tmp_path / "part", lora=(lora,))
    assert generate(again, visible=False).path == tmp_path / "part"
    with pytest.raises(InputError, match="or as --base the one that it was trained from"):
        generate(run_of(str(alone), tmp_path / "none"), visible=False)


def test_scales_without_loras_are_refused(base, tmp_path):
    with pytest.raises(ConfigurationError, match="2 scales of 1 LoRAs"):
        run_of(base[0], tmp_path, lora=(base[1],), lora_scale=(1.0, 2.0))


def test_averaged_weights_are_taken_where_that_is_said(base, tmp_path):
    folder = shutil.copytree(base[0], tmp_path / "model")
    shutil.copytree(folder / "unet", folder / "unet_ema")
    with editing_weights(folder / "unet_ema") as weights:
        weights["conv_out.bias"] += 1
    raw = made(run_of(str(folder), tmp_path / "raw", weights="raw"))
    averaged = made(run_of(str(folder), tmp_path / "ema", weights="ema"))
    assert raw == made(run_of(base[0], tmp_path / "plain"))
    assert not set(raw.values()) & set(averaged.values())


def test_the_folder_is_a_query_with_its_captions(base, tmp_path, capsys):
    model, lora = base
    images = tmp_path / "images"
    generate(run_of(model, images, lora=(lora,), count=2), visible=False)
    shape = dtrak_stream.ImageShape(3, 16, 16)
    train, _ = sources_for(shape, tmp_path, captioned=True)
    config = job(model, (train, images), tmp_path / "run", lora=(lora,))
    result = dtrak_stream.attribute(config)
    assert result.quarantined == 0
    found = datasets(result.scores)
    assert found["query_id"].tolist() == [b"00000.png", b"00001.png"]
    assert found["scores"].shape == (2, 6)
    assert np.isfinite(found["scores"]).all()
    # another caption is another query
    metadata = images / "metadata.jsonl"
    text = metadata.read_text()
    shutil.copytree(images, tmp_path / "other")
    (tmp_path / "other" / "metadata.jsonl").write_text(text.replace("a red cat", "dog"))
    other = dtrak_stream.attribute(
        job(model, (train, tmp_path / "other"), tmp_path / "run-2", lora=(lora,))
    )
    scores = datasets(other.scores)["scores"]
    assert not np.allclose(scores[0], found["scores"][0])
    np.testing.assert_allclose(scores[1], found["scores"][1])


def test_a_model_is_left_as_it_was(base):
    """What a pipeline is given is the network that gradients are taken of."""
    denoiser = load_denoiser(base[0])
    assert denoiser.pipeline is not None
    built = denoiser.pipeline.build(denoiser.pipeline.scheduler())
    assert built.unet is denoiser.network
    assert not denoiser.network.training
    assert next(built.vae.parameters()).dtype == torch.float32
    assert Path(base[0]).is_dir()
