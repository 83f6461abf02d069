"""The benchmark of plans: settings whose run is what was planned, rows, a tiny run of it all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dtrak_stream.benchmark.foretelling import run as foretelling
from dtrak_stream.benchmark.foretelling.foretold import foretell
from dtrak_stream.benchmark.foretelling.options import ForetellingConfig
from dtrak_stream.benchmark.foretelling.settings import _KINDS, make_setting
from dtrak_stream.benchmark.main_job.stages import Cost
from dtrak_stream.data.images import open_images
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.features.gradient_features import make_featurizer
from dtrak_stream.model.parameters import has_lora
from dtrak_stream.planning.options import PlanConfig
from dtrak_stream.support.configuration import parse
from tests.commands_here import run_bench, run_command

MIB = 2**20


def cost_here(command: list[str]) -> Cost:
    """Run a command of the benchmark in this process, where all is imported already."""
    if command[1] == "-c":
        return Cost(2.0, 100 * MIB, 1.0)
    assert run_command(*command[3:]).code == 0
    return Cost(8.0, 4096 * MIB, 4.0)


def test_a_run_tells_both_beside_each_other(tmp_path, monkeypatch):
    def foretold_here(options: Path):
        return foretell(parse(PlanConfig, ["--config", str(options)], program="plan"))

    monkeypatch.setattr(foretelling, "measure_command", cost_here)
    monkeypatch.setattr(foretelling, "foretold_of", foretold_here)
    out = tmp_path / "plan"
    told = run_bench(
        "plan", "--settings", "tiny", "--images", "5", "--repeats", "2", "--out", str(out)
    )
    assert told.code == 0, told.stderr
    numbers = json.loads(out.with_suffix(".json").read_text())
    (found,) = numbers["settings"]
    assert (found["setting"], found["images"], len(found["turns"])) == ("tiny", 5, 2)
    assert numbers["imports"]["cpu_seconds"] == 1
    for turn in found["turns"]:
        assert turn["planned_cpu_seconds"] > 1
        assert turn["planned_seconds"] > 2
        assert turn["planned_memory_bytes"] > turn["planned_process_bytes"] > 100 * MIB
        assert "5 x 1,024 float16, 1 shards, engine hooked, batches of" in turn["how"]
        assert turn["memory_bytes_when_chosen"] > 0
    first, second = (turn["planned_cpu_seconds"] / 4 for turn in found["turns"])
    assert found["cpu_seconds_ratio"] == pytest.approx((first + second) / 2)
    assert found["share_of_choosing"] == pytest.approx(found["choosing"] / 4)
    rows = out.with_suffix(".md").read_text()
    assert "| tiny, 5 |" in rows
    assert "| 4.0 GiB |" in rows


def test_a_pipeline_with_captions_and_a_lora_is_planned_and_run_as_one(tmp_path):
    setting = make_setting("tiny-lora", 3, tmp_path)
    assert setting.plan.features == setting.run.features
    assert setting.plan.train_samples == setting.images == 3
    task = make_featurizer(setting.run.model, setting.run.features).task
    assert has_lora(task.denoiser.network)
    images = open_images(
        setting.run.images, task.denoiser.image_shape, conditioned_on="caption", visible=False
    )
    assert list(images.conditions(0, 3) or ()) == [f"a photo of a dress {n}" for n in range(3)]


@pytest.mark.parametrize("name", ["3.1M", "35.7M", "sd-1.5"])
def test_large_settings_have_the_sizes_that_are_claimed(name):
    kind = _KINDS[name]
    assert {"3.1M": "rgb32", "35.7M": "cifar"}.get(name) == kind.unet
    assert (kind.text_to_image == "sd-1.5") == (name == "sd-1.5")


@pytest.mark.parametrize(
    ("wrong", "flag"),
    [({"settings": ()}, "--settings"), ({"images": 0}, "--images"), ({"repeats": 0}, "--repeats")],
)
def test_impossible_options_are_refused(wrong, flag):
    with pytest.raises(ConfigurationError, match=flag):
        ForetellingConfig(**wrong)
