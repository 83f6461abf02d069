"""Weights are read straight into half precision: no second copy, the same bits, or a refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dtrak_stream.errors import ConfigurationError, ModelError
from dtrak_stream.features.gradient_features import make_task
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.model import half_weights, loading
from dtrak_stream.model.half_precision import keep_in_half
from dtrak_stream.model.half_weights import fill_in_half
from dtrak_stream.model.network_files import load_network, network_outline
from dtrak_stream.model.weight_files import WeightFiles, find_weights
from tests.model.folders import WEIGHTS, unet_with
from tests.model.pipelines import dit
from tests.model.test_lora_gradients import TARGETS, adapted
from tests.model.text_pipelines import stable_diffusion


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors that are there at a time, but for those left in their files."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._seen: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = operation(*args, **(kwargs or {}))
        for each in tree_leaves(made):
            if isinstance(each, Tensor) and each.device.type == "cpu":
                storage = each.untyped_storage()
                if storage.filename is None:
                    known = StorageWeakRef(storage)
                    self._seen[known.cdata] = (known, storage.nbytes())
        self._seen = {key: each for key, each in self._seen.items() if not each[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._seen.values()))
        return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path: Path = tmp_path_factory.mktemp("network") / "unet"
    torch.manual_seed(0)
    network = unet_with(block_out_channels=(64, 96), down_block_types=("DownBlock2D",) * 2)
    network.save_pretrained(path, max_shard_size="300KB")
    return path


def outline_of(folder: Path) -> nn.Module:
    return network_outline("UNet2DModel", folder)


def filled(folder: Path, whole: str = "") -> nn.Module:
    weights = find_weights(folder)
    return fill_in_half(outline_of(folder), folder, weights, torch.bfloat16, whole=whole)


def bytes_of(network: nn.Module) -> int:
    return sum(each.nbytes for each in network.state_dict().values())


def test_there_is_never_more_than_what_is_kept(folder):
    weights, outline = find_weights(folder), outline_of(folder)
    with LiveBytes() as live:
        network = fill_in_half(outline, folder, weights, torch.bfloat16, whole="")
    largest = 2 * max(each.nbytes for each in network.parameters())  # one that was just read
    assert bytes_of(network) <= live.peak <= bytes_of(network) + 1.1 * largest
    with LiveBytes() as usual:
        whole = load_network(outline_of(folder), folder, weights, torch.float32)
    assert usual.peak >= bytes_of(whole) > 1.9 * bytes_of(network)


def test_an_outline_holds_a_layer_at_a_time(folder):
    with LiveBytes() as live:
        outline = outline_of(folder)
    assert {each.device.type for each in outline.parameters()} == {"meta"}
    largest = max(each.nbytes for each in outline.parameters())
    assert live.peak < 3 * largest < bytes_of(outline) / 2


def test_an_outline_has_the_buffers_that_no_file_holds(tmp_path):
    network = dit()
    network.save_pretrained(tmp_path)
    with LiveBytes() as live:
        outline = network_outline("DiTTransformer2DModel", tmp_path)
    assert {each.device.type for each in outline.parameters()} == {"meta"}
    buffers, expected = dict(outline.named_buffers()), dict(network.named_buffers())
    assert buffers.keys() == expected.keys() != {}
    assert all(torch.equal(each, expected[name]) for name, each in buffers.items())
    assert live.peak < bytes_of(network)


@pytest.mark.parametrize("bound", [1, 10**5, 2**26])
def test_files_are_mapped_a_bounded_part_at_a_time(folder, monkeypatch, bound):
    monkeypatch.setattr(half_weights, "_MAPPED_BYTES", bound)
    path = sorted(folder.glob("*.safetensors"))[0]
    names = list(load_file(path))
    largest = max(each.nbytes for each in load_file(path).values())
    parts = [list(part) for part in half_weights._in_parts(path, names)]
    assert [name for part in parts for name, _ in part] == names
    for part in parts:
        assert sum(each.nbytes for _, each in part) < bound + largest
    assert (len(parts) == len(names)) == (bound == 1)


@pytest.mark.parametrize("whole", ["", "conv_in|mid_block"])
@pytest.mark.parametrize("kind", ["safetensors", "bin", "old bin"])
def test_they_are_those_of_a_network_that_is_rounded_afterwards(folder, tmp_path, whole, kind):
    if kind != "safetensors":
        state = {k: v for path in folder.glob("*.safetensors") for k, v in load_file(path).items()}
        (tmp_path / "config.json").write_text((folder / "config.json").read_text())
        own = tmp_path / "diffusion_pytorch_model.bin"
        torch.save(state, own, _use_new_zipfile_serialization=kind == "bin")
    source = folder if kind == "safetensors" else tmp_path
    found = filled(source, whole)
    expected = load_network(outline_of(folder), folder, find_weights(folder), torch.float32)
    for name, each in expected.named_parameters():
        each.requires_grad_(bool(whole) and name.startswith(("conv_in", "mid_block")))
    keep_in_half(expected, torch.bfloat16)
    assert found.state_dict().keys() == expected.state_dict().keys()
    for name, each in expected.state_dict().items():
        assert found.state_dict()[name].dtype == each.dtype, name
        assert torch.equal(found.state_dict()[name], each), name


def test_names_of_the_first_versions_and_of_one_file_of_training_are_read(tmp_path):
    network = UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(32,),
        layers_per_block=1,
        down_block_types=("AttnDownBlock2D",),
        up_block_types=("AttnUpBlock2D",),
        mid_block_type=None,
    )
    network.save_pretrained(tmp_path)
    state = load_file(tmp_path / WEIGHTS)
    renamed = {name.replace(".to_q.", ".query."): each for name, each in state.items()}
    assert renamed.keys() != state.keys()
    save_file(renamed, tmp_path / WEIGHTS, metadata={"format": "pt"})
    assert bytes_of(filled(tmp_path)) < bytes_of(network)
    one = WeightFiles(None, file=tmp_path / "model.safetensors")
    (tmp_path / WEIGHTS).rename(tmp_path / "model.safetensors")
    alone = fill_in_half(outline_of(tmp_path), tmp_path, one, torch.float16, whole="")
    assert alone.get_parameter("conv_in.weight").dtype == torch.float16


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("conv_in.bias"), "lack 1 of the network's weights: conv_in.bias"),
        (lambda state: state.update(more=torch.zeros(1)), "no place for 1 of the files' weights"),
    ],
)
def test_weights_of_another_network_are_refused(folder, tmp_path, change, words):
    unet_with().save_pretrained(tmp_path)
    state = load_file(tmp_path / WEIGHTS)
    change(state)
    save_file(state, tmp_path / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=words):
        filled(tmp_path)


def test_a_choice_that_is_no_regular_expression_is_refused(folder):
    with pytest.raises(ConfigurationError, match=r"--parameters \(: not a regular expression"):
        filled(folder, "(")


@pytest.mark.parametrize("how", ["--lora", "BASE+LORA", "regular expression"])
def test_whatever_says_what_is_frozen_lets_the_rest_be_read_in_half(tmp_path, monkeypatch, how):
    pipeline = stable_diffusion(tmp_path)
    model, lora = str(tmp_path / "pipeline"), str(tmp_path / "lora")
    factors = adapted(pipeline.unet, 0, targets=TARGETS, alpha=3)
    type(pipeline).save_lora_weights(lora, unet_lora_layers=factors)
    changes: dict[str, dict[str, Any]] = {
        "--lora": {"lora": (lora,)},
        "BASE+LORA": {},
        "regular expression": {"parameters": "attn"},
    }

    def read_whole(*_: object) -> nn.Module:
        raise AssertionError("the network was read in float32")

    monkeypatch.setattr(loading, "load_network", read_whole)
    named = f"{model}+{lora}" if how == "BASE+LORA" else model
    wanted = FeatureOptions(precision="bfloat16", timesteps="2", device="cpu", **changes[how])
    task = make_task(named, wanted)
    weights = dict(task.denoiser.network.named_parameters())
    assert {weights[name].dtype for name in task.parameters} == {torch.float32}
    assert weights["conv_in.weight"].dtype == torch.bfloat16
