"""Gradients of a LoRA on a pipeline: chosen by themselves, in both engines those of autograd."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from peft import LoraConfig, inject_adapter_in_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.errors import ConfigurationError, InputError
from dtrak_stream.features.gradient_features import make_featurizer
from dtrak_stream.features.kinds import stamp_features
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.gradients.coverage import served_parameters
from dtrak_stream.gradients.hooked import HookedEngine
from dtrak_stream.gradients.task import GradientTask
from dtrak_stream.gradients.timestep_batched import TimestepBatchedEngine
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.options import LoadingOptions, LoraOptions
from dtrak_stream.model.parameters import choose_parameters
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.objective.output_functions import OutputFunction
from dtrak_stream.support.stamps import Stamping
from tests.gradients.networks import assert_rows_close, engine_called, gathered
from tests.model.flow_pipelines import FLOW_PIPELINES
from tests.model.text_pipelines import SIZE, TEXT_PIPELINES, stable_diffusion

CAPTIONS, IDS, TIMESTEPS = ("a cat", "red dog"), ["a", "b"], (20, 700)
TARGETS = ["to_q", "to_out.0", "conv1", "ff.net.2"]


def adapted(network, seed, *, targets, alpha):
    """Put a LoRA of random factors on a network by PEFT, and return its tensors."""
    torch.manual_seed(seed)
    config = LoraConfig(r=2, lora_alpha=alpha, target_modules=targets, init_lora_weights=False)
    inject_adapter_in_model(config, network)
    return get_peft_model_state_dict(network)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tmp_path_factory.mktemp("base")


@pytest.fixture(scope="module")
def saved(base) -> tuple[StableDiffusionPipeline, str, str]:
    """A pipeline of diffusers with a LoRA on both its networks, and both as they were saved."""
    pipeline = stable_diffusion(base / "model")
    unet = adapted(pipeline.unet, 0, targets=TARGETS, alpha=3)
    text = adapted(pipeline.text_encoder, 1, targets=["q_proj"], alpha=3)
    metadata = {"r": 2, "lora_alpha": 3}
    StableDiffusionPipeline.save_lora_weights(
        base / "lora",
        unet_lora_layers=unet,
        text_encoder_lora_layers=text,
        unet_lora_adapter_metadata=metadata,
        text_encoder_lora_adapter_metadata=metadata,
    )
    return pipeline, str(base / "model" / "pipeline"), str(base / "lora")


def images():
    return torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def gradient_of_script(pipeline, image, caption, parameters):
    """The gradient of the mean loss of one sample, in float64, by diffusers and autograd."""
    scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    for part in (pipeline.vae, pipeline.text_encoder, pipeline.unet):
        part.double().eval()
    tokens = pipeline.tokenizer([caption], padding="max_length", return_tensors="pt").input_ids
    told = pipeline.text_encoder(tokens)[0].detach()
    clean = pipeline.vae.encode(image[None].double()).latent_dist.mode().detach()
    clean = clean * pipeline.vae.config.scaling_factor
    losses = []
    for timestep in TIMESTEPS:
        noise = ImageNoise(0).draw(
            tuple(clean.shape[1:]), sample_id="", pairs=[(timestep, 0)], device=clean.device
        )
        time = torch.tensor([timestep])
        noisy = scheduler.add_noise(clean, noise.double(), time)
        answer = pipeline.unet(noisy, time, told).sample
        losses.append(torch.nn.functional.mse_loss(answer, noise.double()))
    gradients = torch.autograd.grad(torch.stack(losses).mean(), parameters)
    return torch.cat([each.flatten() for each in gradients])


@pytest.mark.parametrize("kind", ["timestep-batched", "hooked"])
def test_gradients_of_a_lora_are_those_of_autograd_through_diffusers(saved, kind):
    pipeline, folder, lora = saved
    denoiser = load_denoiser(folder, LoadingOptions(loras=(LoraOptions(lora),)))
    chosen = choose_parameters(denoiser.network, "auto")
    assert all(".lora_" in name for name in chosen)
    named = dict(pipeline.unet.named_parameters())
    theirs = [named[name.replace(".lora_0.", ".default.")] for name in chosen]
    rows = [
        gradient_of_script(pipeline, image, caption, theirs)
        for image, caption in zip(images(), CAPTIONS, strict=True)
    ]
    simple = OutputFunction("simple", denoiser.schedule)
    task = GradientTask(denoiser, chosen, simple, TIMESTEPS, ImageNoise(0))
    if kind == "hooked":
        assert served_parameters(task) == frozenset(chosen)  # PEFT's layers have rules, all of them
    found = gathered(engine_called(kind, task), images(), IDS, CAPTIONS)
    assert_rows_close(found, torch.stack(rows))


def told_by(denoiser, samples):
    return (denoiser.encoded(samples).inputs or {})["encoder_hidden_states"]


def test_a_lora_of_the_text_encoder_changes_what_the_network_is_told(saved):
    pipeline, folder, lora = saved
    plain, tuned = (
        load_denoiser(folder, LoadingOptions(loras=loras)) for loras in ((), (LoraOptions(lora),))
    )
    samples = SampleBatch(tuple(IDS), images(), CAPTIONS)
    told = told_by(tuned, samples)
    pipeline.text_encoder.float()
    pipeline.unet.float()
    for row, caption in enumerate(CAPTIONS):
        expected, _ = pipeline.encode_prompt(caption, "cpu", 1, False)
        torch.testing.assert_close(told[row : row + 1], expected)
    assert not torch.allclose(told_by(plain, samples), told)
    assert plain.identity != tuned.identity
    assert (
        "(rank 2, 3 layers of text_encoder and 28 layers of unet, scale 1, no " in tuned.description
    )
    assert "no gradients are taken of those of text_encoder)" in tuned.description


def test_features_are_of_the_lora_where_one_is_given(saved):
    _, folder, lora = saved
    options = FeatureOptions(lora=(lora,), proj_dim=64, timesteps="2")
    featurizer = make_featurizer(folder, options)
    assert all(".lora_" in name for name in featurizer.parameter_names)
    every = make_featurizer(folder, FeatureOptions(proj_dim=64, timesteps="2"))
    assert len(every.parameter_names) > len(featurizer.parameter_names)
    assert every.identity["weights"] != featurizer.identity["weights"]


def test_a_lora_of_the_text_encoder_alone_leaves_open_what_is_differentiated(saved, tmp_path):
    _, folder, lora = saved
    tensors = load_file(Path(lora) / "pytorch_lora_weights.safetensors")
    alone = {name: each for name, each in tensors.items() if name.startswith("text_encoder.")}
    save_file(alone, tmp_path / "lora.safetensors")
    options = FeatureOptions(lora=(str(tmp_path / "lora.safetensors"),), timesteps="2")
    with pytest.raises(ConfigurationError, match="is on text_encoder alone"):
        make_featurizer(folder, options)
    every = make_featurizer(folder, dataclasses.replace(options, parameters="all"))
    assert len(every.parameter_names) > 28


def test_each_lora_is_read_with_its_own_scale():
    given = FeatureOptions(lora=("a", "b"), lora_scale=(0.5, -2.0), lora_some_layers=True)
    assert given.loading().loras == (LoraOptions("a", 0.5, True), LoraOptions("b", -2.0, True))
    assert FeatureOptions(lora=("a",)).loading().loras == (LoraOptions("a", 1.0, False),)


def test_scales_are_one_for_each_lora():
    for scales in ((1.0,), (1.0, 2.0, 3.0)):
        with pytest.raises(ConfigurationError, match=r"--lora-scale: .* scales of 2 LoRAs"):
            FeatureOptions(lora=("a", "b"), lora_scale=scales)


def test_a_lora_that_is_multiplied_by_zero_has_no_gradients():
    with pytest.raises(ConfigurationError, match="--lora-scale: a LoRA of scale 0 has no"):
        FeatureOptions(lora=("a", "b"), lora_scale=(1.0, 0.0))


def stamp_of(model, options):
    stamping = Stamping()
    assert stamp_features(model, options, None, stamping)
    return stamping.stamp()


def test_a_lora_is_part_of_the_stamp(saved):
    _, folder, lora = saved
    options = FeatureOptions(lora=(lora,))
    before = stamp_of(folder, options)
    assert stamp_of(folder, options) == before
    file = Path(lora) / "pytorch_lora_weights.safetensors"
    file.write_bytes(file.read_bytes())
    assert stamp_of(folder, options) != before


def test_a_model_with_a_lora_of_its_own_has_the_features_of_one_given_with_it(saved):
    _, folder, lora = saved
    few: dict[str, Any] = {"proj_dim": 64, "timesteps": "2"}
    own = make_featurizer(f"{folder}+{lora}", FeatureOptions(**few))
    given = make_featurizer(folder, FeatureOptions(lora=(lora,), **few))
    assert own.identity == given.identity
    samples = SampleBatch(tuple(IDS), images(), CAPTIONS)
    assert torch.equal(own.features(samples), given.features(samples))
    both = make_featurizer(f"{folder}+{lora}", FeatureOptions(lora=(lora,), **few))
    assert len(both.parameter_names) == 2 * len(own.parameter_names)


def test_a_lora_of_its_own_is_part_of_the_stamp_and_has_to_be_there(saved, tmp_path):
    _, folder, lora = saved
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes((Path(lora) / "pytorch_lora_weights.safetensors").read_bytes())
    before = stamp_of(f"{folder}+{mine}", FeatureOptions())
    assert stamp_of(f"{folder}+{mine}", FeatureOptions()) == before
    mine.write_bytes(mine.read_bytes())
    assert stamp_of(f"{folder}+{mine}", FeatureOptions()) != before
    with pytest.raises(InputError, match=r"absent: no such file or folder"):
        stamp_of(f"{folder}+{tmp_path}/absent", FeatureOptions())
    with pytest.raises(InputError, match=r"absent: no such file or folder"):
        make_featurizer(f"{folder}+{tmp_path}/absent", FeatureOptions())


@pytest.mark.parametrize("family", ["sdxl", "sd3", "flux-dev"])
def test_both_engines_serve_a_lora_on_every_family(tmp_path, family):
    """The hooked engine against autograd through the network that PEFT itself has loaded."""
    table = TEXT_PIPELINES | FLOW_PIPELINES
    folder = table[family].save(tmp_path)
    plain = load_denoiser(folder, table[family].options)
    torch.manual_seed(7)
    tensors = adapted(plain.network, 0, targets=["to_q", "to_out.0"], alpha=3)
    name = "unet" if family == "sdxl" else "transformer"
    metadata = {"lora_adapter_metadata": json.dumps({f"{name}.lora_alpha": 3, f"{name}.r": 2})}
    file = tmp_path / "pytorch_lora_weights.safetensors"
    save_file({f"{name}.{key}": each for key, each in tensors.items()}, file, metadata=metadata)
    options = dataclasses.replace(table[family].options, loras=(LoraOptions(str(file)),))
    tuned = load_denoiser(folder, options)
    chosen = choose_parameters(tuned.network, "auto")
    simple = OutputFunction("simple", tuned.schedule)
    task = GradientTask(tuned, chosen, simple, TIMESTEPS, ImageNoise(0))
    assert served_parameters(task) == frozenset(chosen)
    found = gathered(HookedEngine(task, frozenset(chosen), 8), images(), IDS, CAPTIONS)
    named = dict(plain.network.named_parameters())
    theirs = {each: named[each.replace(".lora_0.", ".default.")] for each in chosen}
    expected = gathered(
        TimestepBatchedEngine(dataclasses.replace(task, denoiser=plain, parameters=theirs)),
        images(),
        IDS,
        CAPTIONS,
    )
    assert_rows_close(found, expected, 2e-5)
