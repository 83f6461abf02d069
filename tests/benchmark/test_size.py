"""The benchmark of real size: networks as large as is claimed, ways that agree, a tiny run."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import UNet2DConditionModel

from dtrak_stream.benchmark.size import networks
from dtrak_stream.benchmark.size.networks import random_network
from dtrak_stream.benchmark.size.options import NetworkName, SizeBenchConfig
from dtrak_stream.benchmark.size.subject import make_size_subject
from dtrak_stream.benchmark.size.ways import (
    HOOKED,
    TRAINING,
    make_way,
)
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.projectors.table import make_projector
from tests.commands_here import run_bench


def tiny(precision="float32", images=1):
    return make_size_subject(
        "tiny", rank=2, precision=precision, timesteps=2, images=images, latent_side=None
    )


@pytest.mark.parametrize(("name", "millions"), [("sd-1.5", 859.5), ("sdxl", 2567.5)])
def test_the_large_networks_are_of_the_sizes_that_are_claimed(name: NetworkName, millions):
    with torch.device("meta"):
        network = UNet2DConditionModel(**networks._OPTIONS[name])
    count = sum(weight.numel() for weight in network.parameters())
    assert count == pytest.approx(1e6 * millions, rel=1e-3)


def test_random_weights_keep_what_goes_through_of_one_size():
    network = random_network("tiny", torch.bfloat16)
    assert network.conv_in.weight.dtype == torch.bfloat16
    assert network.conv_in.bias.dtype == network.conv_norm_out.weight.dtype == torch.float32
    whole = random_network("tiny", torch.float32)
    generator = torch.Generator().manual_seed(0)
    noisy, told = (torch.randn(2, *size, generator=generator) for size in ((4, 8, 8), (5, 8)))
    answer = whole(noisy, 3, told).sample
    assert 0.1 < answer.std() < 10


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_the_sketch_is_of_the_gradients_of_the_training_step(precision):
    subject = tiny(precision)
    gradients = make_way(TRAINING, subject)(subject.samples)
    flat = torch.cat([each.flatten() for each in gradients])[None] / subject.task.scale.value  # type: ignore[attr-defined]
    expected, p = torch.zeros(1, 4096), flat.shape[1]
    make_projector("sketch", proj_dim=4096, seed=0, num_parameters=p).add(flat, 0, expected)
    row = make_way(HOOKED, subject)(subject.samples)
    assert isinstance(row, torch.Tensor)
    tolerance = 1e-5 if precision == "float32" else 0.01
    assert (row - expected).norm() < tolerance * expected.norm()


def test_a_run_tells_every_way_next_to_the_training_step(tmp_path):
    out = tmp_path / "size"
    told = run_bench(
        "size", "--networks", "tiny", "--ranks", "2", "--precisions", "bfloat16", "--images", "1",
        "--latent-side", "16", "--out", str(out),
    )  # fmt: skip
    assert told.code == 0, told.stderr
    ways = json.loads(out.with_suffix(".json").read_text())["ways"]
    assert [each["way"] for each in ways] == [TRAINING, HOOKED]
    assert ways[0]["time_ratio"] == ways[0]["memory_ratio"] == 1
    assert all(len(each["seconds"]) == 1 and each["seconds"][0] > 0 for each in ways)
    assert all(each["peak_bytes"] >= each["ready_bytes"] > 2**27 for each in ways)
    assert "tiny (0M) at 16 x 16, r = 2" in out.with_suffix(".md").read_text()


@pytest.mark.parametrize("wrong", [{"ranks": ()}, {"images": 0}, {"threads": 0}])
def test_impossible_options_are_refused(wrong):
    with pytest.raises(ConfigurationError, match="must be at least"):
        SizeBenchConfig(**wrong)
