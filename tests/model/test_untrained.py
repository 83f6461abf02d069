"""Networks with random weights instead of their own, for controls: never silently."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dtrak_stream.errors import ConfigurationError, FingerprintMismatchError
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.options import LoadingOptions, LoraOptions
from dtrak_stream.model.parameters import weights_hash
from tests.small_jobs import fingerprint_of, random_pixels, run_tool, save_images, small_job


def untrained(folder: str, seed: int = 7):  # of seed 0 are those in the folder
    return load_denoiser(folder, LoadingOptions(seed=seed, untrained=True))


def test_the_seed_alone_decides_the_weights(model_folder, other_model_folder):
    own, again = untrained(model_folder), untrained(model_folder)
    torch.manual_seed(5)
    other = untrained(model_folder, seed=1)
    trained = load_denoiser(model_folder)
    shapes = [tuple(p.shape) for p in trained.network.parameters()]
    assert [tuple(p.shape) for p in own.network.parameters()] == shapes
    assert weights_hash(own.network) == weights_hash(again.network)
    hashes = {weights_hash(each.network) for each in (own, other, trained)}
    assert len(hashes) == 3
    assert weights_hash(untrained(other_model_folder).network) == weights_hash(own.network)
    assert not own.network.training


def test_random_numbers_of_others_are_left_as_they_are(model_folder):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    untrained(model_folder)
    assert torch.equal(torch.rand(2), expected)


def test_it_is_said_in_the_line_about_the_model_and_nothing_else_is(model_folder, capsys):
    told = untrained(model_folder, seed=4).description
    assert capsys.readouterr().err == ""
    assert told.endswith("UNTRAINED: random weights of seed 4, for controls only")
    assert "UNTRAINED" not in load_denoiser(model_folder).description


def test_a_store_tells_and_takes_no_other_weights(model_folder, tmp_path, capsys):
    images = save_images(tmp_path / "images", random_pixels(3))
    job = small_job(model_folder, images, tmp_path / "s", weights="untrained")
    featurize(job)
    assert "UNTRAINED: random weights of seed 0" in capsys.readouterr().err
    assert fingerprint_of(job.store).weights.startswith("untrained, seed 0: ")
    assert featurize(job).computed == 0
    trained = dataclasses.replace(job.features, weights="as-given")
    with pytest.raises(FingerprintMismatchError, match=r"weights differs.*untrained, seed 0"):
        featurize(dataclasses.replace(job, features=trained))


def test_half_precision_is_computed_with_the_same_weights(model_folder, tmp_path):
    images = save_images(tmp_path / "images", random_pixels(2))
    found = []
    for precision in ("float32", "bfloat16"):
        job = small_job(
            model_folder, images, tmp_path / precision, weights="untrained", precision=precision
        )
        featurize(job)
        found.append(fingerprint_of(job.store).weights)
    assert found[0] == found[1]


def test_a_lora_is_refused_beside_it(model_folder):
    options = LoadingOptions(untrained=True, loras=(LoraOptions("some"),))
    with pytest.raises(ConfigurationError, match="--weights untrained --lora"):
        load_denoiser(model_folder, options)


def test_a_model_given_from_python_is_taken_as_it_is(model_folder, tmp_path):
    images = save_images(tmp_path / "images", random_pixels(2))
    job = small_job("embedded:digits_ddpm", images, tmp_path / "s", weights="untrained")
    with pytest.raises(ConfigurationError, match="weights: is about reading a model"):
        featurize(job, denoiser=load_denoiser(model_folder))


def test_images_are_not_generated_with_it(tmp_path, capsys):
    words = ["--out", str(tmp_path / "new"), "--weights", "untrained"]
    code, _, told = run_tool("generate", words, capsys)
    assert code == 2
    assert "--weights" in told
