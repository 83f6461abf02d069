"""Counterfactuals of a LoRA: trained again without proponents, and its prompts drawn again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dtrak_stream
from dtrak_stream.data.images import open_images
from dtrak_stream.errors import ConfigurationError, FingerprintMismatchError
from dtrak_stream.evaluation.counterfactual.configuration import CounterfactualConfig
from dtrak_stream.evaluation.counterfactual.job import OutcomeFolder
from dtrak_stream.evaluation.counterfactual.plan import plan_counterfactual
from dtrak_stream.evaluation.counterfactual.run import counterfactual
from dtrak_stream.evaluation.losses import LossMeter
from dtrak_stream.evaluation.options import LossOptions
from dtrak_stream.evaluation.retraining.configuration import WorkerOptions
from dtrak_stream.generation.run import generate
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.options import LoadingOptions, LoraOptions
from dtrak_stream.model.told_options import ToldOptions
from dtrak_stream.training.configuration import OptimisationOptions
from dtrak_stream.training.lora_configuration import LoraLayerOptions, LoraTrainingConfig
from dtrak_stream.training.lora_run import train_lora
from tests.attribution.jobs import job
from tests.evaluation.synthetic import scores_of
from tests.evaluation.test_retraining_loras import captioned
from tests.generation.test_prompted import pixels_in, run_of
from tests.model.text_pipelines import stable_diffusion

N, IDS = 6, ["00000.png", "00001.png"]
LOSS = LossOptions("3", loss_batch=8)


@pytest.fixture(scope="module")
def lora(tmp_path_factory) -> LoraTrainingConfig:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("lora")
    stable_diffusion(folder)
    config = LoraTrainingConfig(
        images=captioned(folder / "images", N, 0, "text"),
        model=str(folder / "pipeline"),
        out=folder / "lora",
        device="cpu",
        layers=LoraLayerOptions(rank=2),
        optimisation=OptimisationOptions(epochs=4, batch_size=2, learning_rate=0.1),
    )
    train_lora(config, visible=False)
    return config


@pytest.fixture(scope="module")
def generated(lora, tmp_path_factory) -> Path:
    out: Path = tmp_path_factory.mktemp("generated") / "images"
    generate(run_of(lora.model, out, lora=(str(lora.out),), batch_size=None), visible=False)
    return out


def config_of(
    lora: LoraTrainingConfig, generated: Path, scores: Path, out: Path, **changes: Any
) -> CounterfactualConfig:
    config = CounterfactualConfig(
        scores=(f"ours={scores}",),
        generated=generated,
        out=out,
        model=str(lora.out),
        queries=2,
        remove="2",
        random=1,
        loss=LOSS,
        where=WorkerOptions(device="cpu"),
        quiet=True,
    )
    return dataclasses.replace(config, **changes)


@pytest.fixture
def ours(lora, tmp_path) -> Path:
    """Query 0 is due to images 0 and 1, query 1 to images 2 and 3."""
    scores = np.zeros((2, N), np.float32)
    scores[0, :2], scores[1, 2:4] = 1.0, 1.0
    train = open_images(lora.images, visible=False).sample_ids(0, N)
    return scores_of(tmp_path / "ours.h5", scores, train=train, query=IDS)


def test_a_query_is_drawn_again_by_the_lora_without_its_proponents(lora, generated, ours, tmp_path):
    config = config_of(lora, generated, ours, tmp_path / "run")
    result = counterfactual(config)
    assert result.models == 3  # one random removal for both queries, and one for each query
    plan = plan_counterfactual(config)
    removal = plan.removals["ours"][1][0]
    assert removal.removed.tolist() == [2, 3]
    found = OutcomeFolder(config.out).load(removal.name, 1)
    assert found is not None

    subset, out = tmp_path / "subset.npy", tmp_path / "by-hand"
    np.save(subset, np.array([0, 1, 4, 5]))
    train_lora(dataclasses.replace(lora, subset=subset, out=out), visible=False)
    images = tmp_path / "images"
    generate(run_of(lora.model, images, lora=(str(out),), batch_size=None), visible=False)
    np.testing.assert_array_equal(found.image, pixels_in(images)[1])
    assert (found.image != pixels_in(generated)[1]).any()

    denoiser = load_denoiser(lora.model, LoadingOptions(loras=(LoraOptions(str(out)),)))
    queries = open_images(str(generated), conditioned_on="caption", visible=False)
    expected = LossMeter(denoiser, LOSS).of_images(queries)[1]  # two images in a pass
    assert found.loss == pytest.approx(expected, rel=1e-6)


def test_scores_of_the_lora_are_taken_as_attribute_writes_them(lora, generated, tmp_path, capsys):
    sources = (Path(lora.images), generated)
    scored = job(lora.model, sources, tmp_path / "scored", lora=(str(lora.out),))
    scores = dtrak_stream.attribute(scored).scores
    plan = plan_counterfactual(config_of(lora, generated, scores, tmp_path / "run"))
    assert "could not be checked" not in capsys.readouterr().err
    assert len(plan.removals["ours"][0][0].removed) == 2


def test_images_of_another_lora_are_refused(lora, generated, ours, tmp_path):
    other = dataclasses.replace(lora, out=tmp_path / "other", seed=1)
    train_lora(other, visible=False)
    with pytest.raises(FingerprintMismatchError, match="weights"):
        counterfactual(config_of(other, generated, ours, tmp_path / "run"))


def test_prompts_that_were_changed_are_refused(lora, ours, tmp_path):
    images = tmp_path / "images"
    generate(run_of(lora.model, images, lora=(str(lora.out),)), visible=False)
    metadata = images / "metadata.jsonl"
    metadata.write_text(metadata.read_text().replace("dogs", "cats"))
    with pytest.raises(FingerprintMismatchError, match="told differs"):
        counterfactual(config_of(lora, images, ours, tmp_path / "run"))


def test_what_a_model_is_not_told_is_refused(lora, generated, ours, tmp_path):
    config = config_of(lora, generated, ours, tmp_path / "run", told=ToldOptions(guidance=2.0))
    with pytest.raises(ConfigurationError, match="--guidance: not used"):
        counterfactual(config)
    recorded = json.loads((generated / "fingerprint.json").read_text())
    assert recorded["sampler"] == "own"
    assert not (tmp_path / "run").exists()
