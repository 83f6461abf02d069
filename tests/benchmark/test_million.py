"""The benchmark of a million images: each method's plan, added up."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from dtrak_stream.benchmark.million import run as million
from dtrak_stream.benchmark.million.options import MillionConfig, plannable_methods
from dtrak_stream.errors import ConfigurationError, DiskFullError
from dtrak_stream.methods import METHODS
from dtrak_stream.planning.run import PlanResult
from dtrak_stream.planning.stages import StagePlan
from tests.commands_here import run_bench
from tests.conftest import build_unet


def stage(name, seconds, disk=0):
    return StagePlan(name, disk, 0, 0, seconds, f"how of {name}")


STAGES = [
    stage("train features of gradients", 1000.0, 2 * 2**30),
    stage("query features of gradients", 10.0, 2**20),
    stage("train features of activations", 200.0),
    stage("Gram matrix of gradients", 30.0),
    stage("Gram matrix of activations", 20.0),
    stage("scores", 5.0),
    stage("kept latents", None),
]


def test_stages_are_added_up(tmp_path, monkeypatch):
    asked = []

    def plan(config):
        asked.append(config)
        return PlanResult(config.run, STAGES, begin=1.5)

    monkeypatch.setattr(million, "plan", plan)
    out = tmp_path / "million"
    words = ("--methods", "mix", "das", "--model", "rgb32", "--queries", "7", "--out", str(out))
    told = run_bench("million", *words)
    assert told.code == 0, told.stderr
    numbers = json.loads(out.with_suffix(".json").read_text())
    assert [each["method"] for each in numbers["methods"]] == ["mix", "das"]
    found = numbers["methods"][0]
    assert [found[each] for each in ("features", "Gram", "rest", "all")] == [1200, 50, 16.5, 1266.5]
    assert numbers["parameters"] == 3_137_363
    assert [(each.score_options.method, each.train_samples) for each in asked] == [
        ("mix", 1_000_000),
        ("das", 1_000_000),
    ]
    assert {(each.query_samples, each.image_shape) for each in asked} == {(7, "3x32x32")}
    page = out.with_suffix(".md").read_text()
    assert "| mix | 1,200 | 50 | 16 | 1,266 | 21.1 min | 2.0 GiB |" in page
    assert "das: how of train features of gradients, how of train features of activations" in page


@pytest.mark.parametrize("method", ["mix", "pixel-cosine"])
def test_each_kind_of_method_is_planned_with_its_own_features(tmp_path, monkeypatch, method):
    monkeypatch.setattr(million, "random_unet", lambda _: build_unet())
    monkeypatch.setattr(million, "_SHAPE", "1x8x8")
    config = MillionConfig((method,), images=3000, measured_images=1, out=tmp_path / "out")
    path = million.measure_million(config).path
    (found,) = json.loads(path.with_suffix(".json").read_text())["methods"]
    assert found["all"] == pytest.approx(found["features"] + found["Gram"] + found["rest"])
    assert found["features"] > 0
    assert (found["Gram"] > 0) == METHODS[method].uses_kernel
    assert len(found["how"]) == len(METHODS[method].streams)
    assert all("3,000 x" in each for each in found["how"])


def test_what_a_run_would_be_refused_with_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(million, "random_unet", lambda _: build_unet())
    monkeypatch.setattr(million, "_SHAPE", "1x8x8")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2**20))
    config = MillionConfig(("best",), images=3000, measured_images=1, out=tmp_path / "out")
    with pytest.raises(DiskFullError):
        million.measure_million(config)
    assert list(tmp_path.iterdir()) == []


def test_only_methods_of_images_and_a_model_are_planned():
    assert {"best", "pixel-dot", "das", "mix"} <= set(plannable_methods())
    for name in ("datamodel", "clip-dot", "journey-trak", "none"):
        with pytest.raises(ConfigurationError, match=f"--methods {name}"):
            MillionConfig((name,))
    with pytest.raises(ConfigurationError, match="--images 0"):
        MillionConfig(images=0)
