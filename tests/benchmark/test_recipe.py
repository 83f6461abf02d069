"""The benchmark of the published recipe: what is timed, what is kept, what the page says."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from dtrak_stream.benchmark.featurizing.ways import vmap_gradients
from dtrak_stream.benchmark.recipe import run as run_module
from dtrak_stream.benchmark.recipe import turns as turns_module
from dtrak_stream.benchmark.recipe import ways as ways_module
from dtrak_stream.benchmark.recipe.options import RecipeConfig
from dtrak_stream.benchmark.recipe.run import measure_recipe
from dtrak_stream.benchmark.recipe.ways import Seconds, WayCost, WayOptions, measure, read_cost
from dtrak_stream.errors import ConfigurationError

PUBLISHED = WayOptions("published", "digits", 4, 3, None, 128, 1, "cpu")


@pytest.fixture(autouse=True)
def as_many_threads_as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def clock(monkeypatch):
    """Whatever is timed takes 2 seconds, and 1 of a processor; what that was is written down."""
    seen: list[tuple[str, tuple[int, ...]]] = []

    def timed(run):
        what, arguments = run.func, run.args
        if what is vmap_gradients:
            subject, size = arguments
            seen.append(("vmap", (len(subject.samples), len(subject.task.timesteps), size)))
        elif what.__name__ == "add":
            seen.append(("projection", tuple(arguments[0].shape)))
        else:
            seen.append(("best", arguments))
        run()
        return Seconds(2.0, 1.0)

    monkeypatch.setattr(ways_module, "_timed", timed)
    return seen


def test_all_of_a_small_model_is_timed(clock, monkeypatch):
    sizes = replace(ways_module._SIZES["digits"], proj_dim=64, together=(1, 3))
    monkeypatch.setitem(ways_module._SIZES, "digits", sizes)
    cost = measure(PUBLISHED)
    one_pass, whole = clock[:2], clock[2:]
    assert sorted(one_pass) == [("vmap", (1, 1, 1)), ("vmap", (3, 1, 3))]
    assert whole == [("vmap", (3, 4, 3)), ("projection", (3, 128))]
    assert cost.gradients == Seconds(2 / 3, 1 / 3)
    p = 176_849
    assert cost.projection.by_clock == pytest.approx(2 * p / 128 / 3)
    assert "4 of 4 timesteps of 3 images, 3 in a pass" in cost.timed
    assert "128 of 176,849 coordinates of 3 gradients" in cost.timed


def test_some_timesteps_stand_for_all(clock, monkeypatch):
    sizes = replace(ways_module._SIZES["digits"], proj_dim=64, together=(2,))
    monkeypatch.setitem(ways_module._SIZES, "digits", sizes)
    cost = measure(replace(PUBLISHED, timed_timesteps=1))
    assert clock[1] == ("vmap", (2, 1, 2))
    assert cost.gradients == Seconds(4.0, 2.0)  # 2 seconds for 2 images at 1 of 4 timesteps


def test_best_is_timed_over_all_its_images_at_its_best_batch(clock, monkeypatch):
    sizes = replace(ways_module._SIZES["digits"], passes=(2, 6))
    monkeypatch.setitem(ways_module._SIZES, "digits", sizes)
    cost = measure(replace(PUBLISHED, way="best"))
    assert clock == [("best", (2,)), ("best", (6,))]
    assert cost.whole == Seconds(2 / 3, 1 / 3)
    assert read_cost(json.loads(json.dumps(asdict(cost)))) == cost


@pytest.fixture
def processes(monkeypatch):
    """Processes answer at once: the published recipe takes 300 times as long, then 500 times."""
    asked: list[WayOptions] = []

    def cost_of(options):
        asked.append(options)
        if options.way == "best":
            return WayCost(Seconds(0.02, 0.01), Seconds(0.0, 0.0), "all of it")
        return WayCost(Seconds(4.0, 1.0), Seconds(2.0, 2.0 * (len(asked) > 2) + 2.0), "some of it")

    monkeypatch.setattr(turns_module, "cost_of", cost_of)
    return asked


def small(folder: Path, **changes) -> RecipeConfig:
    options = {"models": ("digits",), "rounds": 2, "lds": False, "device": "cpu"}
    return RecipeConfig(**{**options, "out": folder / "out", **changes})


def test_recipes_take_turns_and_what_is_finished_is_kept(processes, tmp_path):
    page = measure_recipe(small(tmp_path)).path.read_text()
    assert [options.way for options in processes] == ["published", "best"] * 2
    assert "| digits, published | 1.00 | 3.00 | 4.00 | 0.250 | 0.167 | 400 | 300 |" in page
    assert "| digits, best | 0.0100 | – | 0.0100 | 100 | 50.0 | 1 | 1 |" in page
    assert "- digits, published: timed were some of it." in page
    (found,) = json.loads((tmp_path / "out.json").read_text())["models"]
    assert (found["ratio"], found["cpu_ratio"]) == (pytest.approx(300), pytest.approx(400))
    measure_recipe(small(tmp_path))
    assert len(processes) == 4
    measure_recipe(small(tmp_path, rounds=3))
    assert len(processes) == 6
    measure_recipe(small(tmp_path, rounds=1, timed_timesteps=2))
    assert len(processes) == 8


def test_scores_of_both_are_judged_as_each_is_published(processes, tmp_path, monkeypatch):
    def judged(jobs, config):
        asked = {(job.features.output_function, job.features.timesteps) for job in jobs}
        assert asked == {("avg", 2), ("square", 100)}
        assert {job.features.noise for job in jobs} == {"shared", "per-sample"}
        return [
            {
                "method": method,
                "queries": queries,
                "transform": transform,
                "rules": {"auto": {"lds": lds}},
                "oracle": {"lds": lds + 0.1},
            }
            for method, transform, lds in (
                ("d-trak", "none", 0.3),
                ("d-trak", "square", 0.5),
                ("best", "signed-square", 0.6),
            )
            for queries in ("val", "gen")
        ]

    monkeypatch.setattr(run_module, "judged_rows", judged)
    page = measure_recipe(small(tmp_path, lds=True)).path.read_text()
    assert "| published | 30.0 | 40.0 | 30.0 | 40.0 |" in page
    assert "| best | 60.0 | 70.0 | 60.0 | 70.0 |" in page


@pytest.mark.parametrize("flag", ["timesteps", "batch", "rounds", "threads", "timed-parameters"])
def test_nothing_to_measure_is_refused(flag):
    with pytest.raises(ConfigurationError, match=f"--{flag} 0"):
        RecipeConfig(**{flag.replace("-", "_"): 0})  # type: ignore[arg-type]


def test_no_models_are_refused():
    with pytest.raises(ConfigurationError, match="--models"):
        RecipeConfig(models=())
