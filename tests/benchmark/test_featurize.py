"""The featurizing benchmark: ways that compute the same, files of a tiny run, refusals."""

from __future__ import annotations

import json

import pytest
import torch

from dtrak_stream.benchmark.featurizing.options import FeaturizeBenchConfig, ModelName
from dtrak_stream.benchmark.featurizing.projecting import measure_projecting
from dtrak_stream.benchmark.featurizing.subject import make_subject
from dtrak_stream.benchmark.featurizing.ways import make_way, vmap_gradients, way_names
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.gradients.timestep_batched import TimestepBatchedEngine
from tests.commands_here import run_bench

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def subject():
    return make_subject("digits", timesteps=2, pairs=6, device=CPU)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    out = tmp_path_factory.mktemp("bench") / "small"
    told = run_bench(
        "featurize", "--models", "digits", "--timesteps", "2", "--pairs", "4", "--repeats", "1",
        "--proj-dim", "64", "--projected-parameters", "500", "--projected-rows", "2", "--no-memory",
        "--parameters", "conv_out", "--quiet", "--out", str(out),
    )  # fmt: skip
    assert told.code == 0, told.stderr
    return json.loads(out.with_suffix(".json").read_text()) | {
        "markdown": out.with_suffix(".md").read_text()
    }


def test_vmap_and_the_engines_compute_the_same_gradients(subject):
    expected = torch.zeros(3, subject.task.num_parameters)

    def receive(piece):
        rows = slice(piece.first_row, piece.first_row + len(piece.block))
        expected[rows, piece.offset : piece.offset + piece.block.shape[1]] += piece.block

    TimestepBatchedEngine(subject.task).stream(subject.samples, receive)
    for size in (2, 16):
        torch.testing.assert_close(
            vmap_gradients(subject, size),
            expected,
            rtol=1e-3,
            atol=1e-4 * float(expected.abs().max()),
        )


@pytest.mark.parametrize("name", way_names(vmap=True))
def test_every_way_goes_through_all_pairs(subject, name, monkeypatch):
    """Each noises every (image, timestep) pair once for all it does with it."""
    way = make_way(name, subject, 64)
    seen: list[tuple[str, tuple[int, int]]] = []
    noised = type(subject.task).noised

    def counted(task, samples, pairs):
        seen.extend((sample_id, pair) for sample_id in samples.ids for pair in pairs)
        return noised(task, samples, pairs)

    monkeypatch.setattr(type(subject.task), "noised", counted)
    way.run(way.sizes[0])
    assert sorted(seen) == sorted(
        (sample_id, pair) for sample_id in subject.samples.ids for pair in subject.task.pairs
    )


def test_the_large_models_are_of_the_sizes_that_are_claimed():
    sizes: dict[ModelName, float] = {"rgb32": 3.1e6, "cifar": 35.7e6}
    for name, size in sizes.items():
        subject = make_subject(name, timesteps=1, pairs=1, device=CPU)
        assert subject.task.num_parameters == pytest.approx(size, rel=0.02)
        assert subject.samples.tensors.shape == (1, 3, 32, 32)


def test_a_run_tells_every_way_next_to_the_training_step(numbers):
    of_all, of_some = numbers["ways"][:-1], numbers["ways"][-1]
    assert [found["way"] for found in of_all] == way_names(vmap=True)
    assert {found["num_parameters"] for found in of_all} == {176_849}
    assert of_some["way"] == "hooked + sketch, conv_out"
    assert 0 < of_some["num_parameters"] < 1_000
    assert numbers["ways"][0]["ratio"] == 1
    assert all(found["seconds"] > 0 and found["images"] == 2 for found in numbers["ways"])
    assert "time / training step" in numbers["markdown"]
    assert [each["projector"] for each in numbers["projecting"][:3]] == [
        "ours, sketch",
        "ours, rademacher",
        "ours, normal",
    ]


def test_a_package_that_is_not_there_is_told_and_left_out(monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "trak", None)
    config = FeaturizeBenchConfig(
        proj_dim=64, projected_parameters=100, projected_rows=1, repeats=1, quiet=True
    )
    found, missing = measure_projecting(config, CPU)
    assert not any("traker" in each.projector for each in found)
    assert len([line for line in missing if "traker" in line]) == 2
    assert "traker BasicProjector, normal is left out" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [{"repeats": 0}, {"pairs": 0}, {"timesteps": ()}])
def test_impossible_options_are_refused(wrong):
    with pytest.raises(ConfigurationError, match="must be at least"):
        FeaturizeBenchConfig(**wrong)
