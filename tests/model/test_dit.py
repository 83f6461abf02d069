"""Diffusion transformers: classes, the variance that is left out, and older folders of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.errors import ConfigurationError, ModelError
from dtrak_stream.model.loading import load_denoiser
from tests.model.folders import editing
from tests.model.pipelines import dit, save_dit


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return save_dit(tmp_path_factory.mktemp("dit"))


@torch.no_grad()
def test_a_transformer_is_asked_with_its_class_and_answers_a_prediction(folder):
    denoiser = load_denoiser(folder)
    noisy, times, labels = torch.randn(3, 4, 8, 8), torch.tensor([3, 500, 900]), (4, 0, 2)
    samples = denoiser.encoded(SampleBatch(("a", "b", "c"), torch.zeros(3, 3, 16, 16), labels))
    whole = dit().eval()(noisy, timestep=times, class_labels=torch.tensor(labels)).sample
    assert whole.shape[1] == 8
    torch.testing.assert_close(denoiser.predict(noisy, times, samples.inputs), whole[:, :4])
    assert "predicts epsilon and a variance" in denoiser.description
    assert "a label of 5 classes" in denoiser.description


def test_the_class_that_stands_for_none_is_no_class_of_samples(folder):
    denoiser = load_denoiser(folder)
    tables = [each for each in denoiser.network.modules() if isinstance(each, nn.Embedding)]
    assert {each.num_embeddings for each in tables} == {6}
    with pytest.raises(ConfigurationError, match="5 is not one of the model's classes, 0 to 4"):
        denoiser.encoded(SampleBatch(("a",), torch.zeros(1, 3, 16, 16), (5,)))


@torch.no_grad()
def test_no_labels_are_dropped(folder):
    """In training, a tenth of them are."""
    denoiser = load_denoiser(folder)
    noisy, times = torch.randn(1, 4, 8, 8).repeat(200, 1, 1, 1), torch.full((200,), 300)
    answers = denoiser.predict(noisy, times, {"class_labels": torch.full((200,), 3)})
    torch.testing.assert_close(answers, answers[:1].expand_as(answers))


@torch.no_grad()
def test_a_transformer_without_a_variance_answers_all_channels(tmp_path):
    denoiser = load_denoiser(save_dit(tmp_path, out_channels=4))
    assert not denoiser.learns_variance
    told = {"class_labels": torch.tensor([1])}
    assert denoiser.predict(torch.zeros(1, 4, 8, 8), torch.tensor([5]), told).shape[1] == 4


@torch.no_grad()
def test_a_folder_from_before_the_class_had_a_name_of_its_own_is_read(folder, tmp_path):
    older = Path(save_dit(tmp_path))
    with editing(older / "model_index.json") as index:
        index["transformer"] = ["diffusers", "Transformer2DModel"]
    with editing(older / "transformer" / "config.json") as config:
        config["_class_name"] = "Transformer2DModel"
        config |= {"num_vector_embeds": None, "use_linear_projection": False}
    found, expected = load_denoiser(str(older)), load_denoiser(folder)
    assert found.class_name == "DiTTransformer2DModel"
    noisy, times = torch.randn(1, 4, 8, 8), torch.tensor([5])
    told = {"class_labels": torch.tensor([1])}
    assert torch.equal(found.predict(noisy, times, told), expected.predict(noisy, times, told))
    with editing(older / "transformer" / "config.json") as config:
        config["norm_type"] = "layer_norm"
    with pytest.raises(ModelError, match="unknown denoiser class Transformer2DModel"):
        load_denoiser(str(older))


def test_latents_that_cannot_be_cut_into_patches_are_refused(tmp_path):
    folder = Path(save_dit(tmp_path))
    with editing(folder / "transformer" / "config.json") as config:
        config |= {"sample_size": 9}
    with pytest.raises(ModelError, match="sample_size 9 cannot be cut into patches of 2"):
        load_denoiser(str(folder))
