"""Weights: all of a network and nothing else, from the files that diffusers would take."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from dtrak_stream.errors import ModelError
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.weight_files import WeightFiles, find_weights
from tests.conftest import build_unet
from tests.model.folders import WEIGHTS, editing_weights, pipeline


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return pipeline(tmp_path_factory.mktemp("saved"), num_train_timesteps=20)


@pytest.fixture
def folder(tmp_path, saved) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "m"))


def holding(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).touch()
    return folder


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_denoiser(str(folder)).network.state_dict()


@pytest.mark.parametrize("key", ["conv_out.bias", "down_blocks.0.resnets.0.norm1.weight"])
def test_a_weight_that_the_file_lacks_is_refused_by_name(folder, key):
    with editing_weights(folder / "unet") as weights:
        del weights[key]
    with pytest.raises(ModelError, match=rf"lack 1 of the network's weights: {key}; save"):
        load_denoiser(str(folder))


def test_a_weight_that_the_network_lacks_is_refused_by_name(folder):
    with editing_weights(folder / "unet") as weights:
        weights["conv_in.lora_A.weight"] = torch.zeros(1)
    with pytest.raises(ModelError, match=r"no place for 1 of .*: conv_in\.lora_A\.weight; save"):
        load_denoiser(str(folder))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.unet."])
def test_names_behind_a_prefix_are_refused_with_how_to_cut_it(folder, prefix):
    with editing_weights(folder / "unet") as weights:
        for name in list(weights):
            weights[prefix + name] = weights.pop(name)
    count = len(build_unet().state_dict())
    with pytest.raises(ModelError, match=rf"lack {count} of .*, \.\.\.;.*put '{prefix}' before"):
        load_denoiser(str(folder))


def test_attention_as_first_versions_named_it_is_the_same_network(folder, saved):
    older = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    with editing_weights(folder / "unet") as weights:
        for name in [name for name in weights if ".attentions." in name]:
            renamed = name
            for now, then in older.items():
                renamed = renamed.replace(f".{now}.", f".{then}.")
            weights[renamed] = weights.pop(name)
        assert any(".proj_attn." in name for name in weights)
    expected, found = weights_of(saved), weights_of(folder)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_weights_in_several_files_are_one_network(folder, saved):
    shutil.rmtree(folder / "unet")
    build_unet().save_pretrained(folder / "unet", max_shard_size="20KB")
    shards = sorted((folder / "unet").glob("*-of-*.safetensors"))
    assert len(shards) > 2
    expected = weights_of(saved)
    found = weights_of(folder)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    shards[1].unlink()
    with pytest.raises(ModelError, match=rf"names 1 files that are not there: {shards[1].name}"):
        load_denoiser(str(folder))


def test_a_variant_is_read_where_there_is_nothing_else_and_named(folder):
    shutil.rmtree(folder / "unet")
    network = build_unet()
    expected = {name: value.half().float() for name, value in network.state_dict().items()}
    network.half().save_pretrained(folder / "unet", variant="fp16")
    assert [path.name for path in (folder / "unet").glob("*.safetensors")] == [
        "diffusion_pytorch_model.fp16.safetensors"
    ]
    assert load_denoiser(str(folder)).description.endswith("as saved in unet/, variant fp16")
    found = weights_of(folder)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_weights_without_a_variant_come_first(tmp_path):
    names = ("diffusion_pytorch_model.fp16.safetensors", WEIGHTS)
    assert find_weights(holding(tmp_path, *names)) == WeightFiles(None)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ((), "no weights in safetensors format; save the pipeline again"),
        (("diffusion_pytorch_model.ckpt",), r"run as programs.*UNet2DModel\.save_pretrained"),
        (
            ("model.safetensors",),
            r"no weights called diffusion_pytorch_model\.safetensors, but",
        ),
        (("diffusion_pytorch_model-00001-of-00002.safetensors",), "without their index; add"),
        (
            (
                "diffusion_pytorch_model.fp16.safetensors",
                "diffusion_pytorch_model.non_ema.safetensors",
            ),
            "holds fp16, non_ema variants of the weights and no others; leave one",
        ),
    ],
)
def test_a_folder_without_such_weights_is_refused_with_what_would_do(tmp_path, names, problem):
    with pytest.raises(ModelError, match=problem):
        find_weights(holding(tmp_path, *names))
