"""Half precision below a LoRA: half the memory, the same bits, gradients near those of autograd."""

from __future__ import annotations

import copy

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import nn

from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.features import gradient_features
from dtrak_stream.features.gradient_features import make_featurizer, make_task
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.gradients import coverage
from dtrak_stream.gradients.coverage import served_parameters
from dtrak_stream.gradients.hooked import HookedEngine
from dtrak_stream.gradients.task import LossScale
from dtrak_stream.model import half_weights, loading
from dtrak_stream.model.half_precision import HALF_PRECISION, as_rounded, autocast_to, keep_in_half
from tests.gradients.networks import assert_rows_close, engine_called, gathered
from tests.model.test_lora_gradients import (
    CAPTIONS,
    IDS,
    TARGETS,
    TIMESTEPS,
    adapted,
    gradient_of_script,
    images,
)
from tests.model.text_pipelines import stable_diffusion

HALVES = list(HALF_PRECISION)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A pipeline of diffusers with a LoRA on its network, and both as they were saved."""
    folder = tmp_path_factory.mktemp("half")
    pipeline = stable_diffusion(folder / "model")
    factors = adapted(pipeline.unet, 0, targets=TARGETS, alpha=3)
    StableDiffusionPipeline.save_lora_weights(
        folder / "lora",
        unet_lora_layers=factors,
        unet_lora_adapter_metadata={"r": 2, "lora_alpha": 3},
    )
    return pipeline, str(folder / "model" / "pipeline"), str(folder / "lora")


def options_for(saved, precision, **changes):
    usual = {"timesteps": f"list:{TIMESTEPS[0]},{TIMESTEPS[1]}", "output_function": "simple"}
    lora, size = (saved[2],), {"proj_dim": 64, "device": "cpu"}
    return FeatureOptions(lora=lora, precision=precision, **{**usual, **size, **changes})


def task_of(saved, precision, **changes):
    return make_task(saved[1], options_for(saved, precision, **changes))


def features_of(featurizer):
    featurizer.use_engine(
        "hooked", pairs_per_pass=8, served=featurizer.served_parameters(), compiled=False
    )
    try:
        return featurizer.features(SampleBatch(tuple(IDS), images(), CAPTIONS))
    finally:
        featurizer.close()


@pytest.mark.parametrize("precision", HALVES)
def test_the_base_is_kept_in_half_and_the_lora_and_the_encoders_are_not(saved, precision):
    denoiser = task_of(saved, precision).denoiser
    halves = total = 0
    for name, weight in denoiser.network.named_parameters():
        total += weight.nbytes
        matrix = weight.ndim > 1 and ".lora_" not in name
        halves += weight.nbytes * matrix
        assert weight.dtype == (HALF_PRECISION[precision] if matrix else torch.float32), name
    assert halves > 0.7 * total
    assert denoiser.conditioner is not None
    assert denoiser.first_stage is not None
    for part in denoiser.conditioner.networks.values():
        assert {weight.dtype for weight in part.parameters()} == {torch.float32}
    whole = task_of(saved, "float32").denoiser.weight_bytes
    assert denoiser.weight_bytes == whole - halves


@pytest.mark.parametrize("precision", HALVES)
def test_what_is_kept_in_half_changes_no_bit(saved, precision, monkeypatch):
    kept = features_of(make_featurizer(saved[1], options_for(saved, precision)))
    monkeypatch.setattr(half_weights, "rounded_weights", lambda _: set())
    monkeypatch.setattr(gradient_features, "keep_in_half", lambda *_: None)
    whole = make_featurizer(saved[1], options_for(saved, precision))
    dtypes = {weight.dtype for weight in whole.task.denoiser.network.parameters()}
    assert dtypes == {torch.float32}
    assert torch.equal(kept, features_of(whole))


@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize("kind", ["timestep-batched", "hooked"])
def test_gradients_are_near_those_of_autograd_of_the_rounded_weights(saved, precision, kind):
    task = task_of(saved, precision)
    reference = copy.deepcopy(saved[0])
    for name, layer in reference.unet.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and ".lora_" not in name:
            layer.weight.data = layer.weight.data.to(HALF_PRECISION[precision]).float()
    named = dict(reference.unet.named_parameters())
    theirs = [named[name.replace(".lora_0.", ".default.")] for name in task.parameters]
    rows = [
        gradient_of_script(reference, image, caption, theirs)
        for image, caption in zip(images(), CAPTIONS, strict=True)
    ]
    if kind == "hooked":
        assert served_parameters(task) == frozenset(task.parameters)
    found = gathered(engine_called(kind, task), images(), IDS, CAPTIONS)
    assert_rows_close(found, torch.stack(rows), 0.05 if precision == "bfloat16" else 0.01)


@pytest.mark.parametrize("precision", HALVES)
def test_unit_gradients_are_served_by_layer_rules(saved, precision):
    task = task_of(saved, precision, timestep_weights="unit-gradient")
    assert served_parameters(task) == frozenset(task.parameters)


@pytest.mark.parametrize("precision", HALVES)
def test_unit_gradients_of_another_length_are_left_to_the_exact_engine(
    saved, precision, monkeypatch
):
    sums = coverage._sums

    def longer(engine, task):
        is_fast = isinstance(engine, HookedEngine) and task.unit_gradients
        return sums(engine, task) * (1.5 if is_fast else 1)

    monkeypatch.setattr(coverage, "_sums", longer)
    task = task_of(saved, precision, timestep_weights="unit-gradient")
    assert served_parameters(task) == frozenset()


def test_a_frozen_part_is_kept_in_half_without_a_lora(saved):
    options = FeatureOptions(parameters="attn", precision="bfloat16", timesteps="2", device="cpu")
    task = make_task(saved[1], options)
    weights = dict(task.denoiser.network.named_parameters())
    assert {weights[name].dtype for name in task.parameters} == {torch.float32}
    assert weights["conv_in.weight"].dtype == torch.bfloat16


@pytest.fixture
def faint(saved, monkeypatch):
    """Make what reaches a model's last layer a thousand times fainter."""
    make = loading.load_denoiser

    def load_faint(model, options, *, device):
        denoiser = make(model, options, device=device)
        with torch.no_grad():
            denoiser.network.get_parameter("conv_norm_out.weight").mul_(1e-3)
        return denoiser

    monkeypatch.setattr(gradient_features, "load_denoiser", load_faint)
    return saved


def test_small_gradients_do_not_vanish_in_float16(faint):
    expected = features_of(make_featurizer(faint[1], options_for(faint, "float32")))
    half = make_featurizer(faint[1], options_for(faint, "float16"))
    assert_rows_close(features_of(half), expected, 0.02)
    unscaled = make_featurizer(faint[1], options_for(faint, "float16"))
    unscaled.task.scale.value = 1.0
    lost = (features_of(unscaled) - expected).norm() / expected.norm()
    assert lost > 0.1


def test_rows_that_vanish_are_computed_again_with_a_larger_scale(saved, monkeypatch):
    whole = make_featurizer(saved[1], options_for(saved, "float16"))
    expected = features_of(whole)
    monkeypatch.setattr(LossScale, "for_precision", classmethod(lambda cls, *_: cls(2.0**-22)))
    vanishing = make_featurizer(saved[1], options_for(saved, "float16"))
    rows = []
    projected = type(vanishing)._projected

    def watched(featurizer, samples):
        rows.append(projected(featurizer, samples))
        return rows[-1].clone()

    monkeypatch.setattr(
        type(vanishing),
        "_projected",
        watched,
    )
    vanishing.use_engine("timestep-batched", pairs_per_pass=8, served=frozenset(), compiled=False)
    found = vanishing.features(SampleBatch(tuple(IDS), images(), CAPTIONS))
    assert not rows[0].any()
    assert_rows_close(found, expected, 0.02)
    assert vanishing.task.scale.value == 2.0**-22


def test_only_layers_that_autocast_rounds_are_kept_in_half():
    network = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.Embedding(2, 3), nn.Linear(3, 2))
    network.requires_grad_(requires_grad=False)[3].requires_grad_()
    keep_in_half(network, torch.bfloat16)
    half = [name for name, each in network.named_parameters() if each.dtype == torch.bfloat16]
    assert half == ["0.weight"]


def test_without_a_type_nothing_is_rounded():
    layer, numbers = nn.Linear(3, 3), torch.rand(2, 3)
    with autocast_to(None, "cpu"):
        assert layer(numbers).dtype == torch.float32
    with autocast_to(torch.bfloat16, "cpu"):
        assert layer(numbers).dtype == torch.bfloat16


def test_what_a_layer_computes_with_is_rounded_where_autocast_does_so():
    numbers = torch.rand(2, 3)
    assert as_rounded(nn.Linear(3, 3), numbers) is numbers
    with autocast_to(torch.bfloat16, "cpu"):
        rounded = as_rounded(nn.Linear(3, 3), numbers)
        assert torch.equal(rounded, numbers.bfloat16())
        assert rounded.dtype == torch.bfloat16
        assert as_rounded(nn.LayerNorm(3), numbers) is numbers
        labels = torch.tensor([1, 2])
        assert as_rounded(nn.Linear(3, 3), labels) is labels
