"""The benchmark of growing stores: every stage is measured beside its products."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dtrak_stream.benchmark.scale import stages as stages_module
from dtrak_stream.benchmark.scale.options import ScaleConfig
from dtrak_stream.benchmark.scale.run import _growth
from dtrak_stream.benchmark.scale.stages import STAGES, StageOptions, cost_of
from dtrak_stream.benchmark.scale.synthetic import write_synthetic_store
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.store.reader import FeatureStore
from tests.benchmark.beside import answer_beside
from tests.commands_here import run_bench


def test_a_stage_is_measured_in_a_process_of_its_own(tmp_path):
    options = StageOptions("writing", str(tmp_path), 20, 64, 8, 2, 3, "64MB")
    cost = cost_of(options)
    assert cost.peak_bytes >= cost.ready_bytes > 2**24
    assert FeatureStore.open(options.train).rows(range(20)).shape == (20, 64)


def test_a_run_measures_every_stage_of_every_store_and_leaves_no_store_behind(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(stages_module, "answer_of", answer_beside)
    out, work = tmp_path / "scale", tmp_path / "work"
    told = run_bench(
        "scale", "--samples", "150", "300", "--proj-dim", "64", "--queries", "5", "--top-k", "3",
        "--rows-per-shard", "64", "--wide", "128", "--wide-samples", "200",
        "--work", str(work), "--out", str(out),
    )  # fmt: skip
    assert told.code == 0, told.stderr
    numbers = json.loads(out.with_suffix(".json").read_text())
    assert [each["samples"] for each in numbers["sizes"]] == [150, 300]
    for each in numbers["sizes"]:
        assert set(each["stages"]) == set(STAGES)
        assert all(cost["peak_bytes"] >= cost["ready_bytes"] for cost in each["stages"].values())
        stages, ratios = each["stages"], each["ratios"]
        gram, products = (stages[name]["cpu_seconds"] for name in ("Gram", "products of the Gram"))
        assert ratios["Gram / its products"] == pytest.approx(gram / products)
    assert (numbers["wide"][0]["tile_size"], numbers["wide"][0]["passes"]) == (128, 1)
    assert numbers["wide"][0]["million_store_bytes"] == 256_000_000
    page = out.with_suffix(".md").read_text()
    assert "| 150 to 300 |" in page
    assert "| 200 x 128 |" in page
    assert not list(work.iterdir())


def test_growth_is_told_as_a_power_and_a_factor():
    def size(samples, seconds, peak):
        return {
            "samples": samples,
            "stages": {"Gram": {"cpu_seconds": seconds, "peak_bytes": peak}},
        }

    found = _growth(size(100, 1.0, 10), size(10_000, 10.0, 11))
    assert found["power"]["Gram"] == pytest.approx(0.5)
    assert found["memory"]["Gram"] == pytest.approx(1.1)


def test_synthetic_features_have_variances_that_fall_and_are_the_same_each_time(tmp_path):
    stores = []
    for name in ("a", "b"):
        write_synthetic_store(
            tmp_path / name, samples=2000, proj_dim=64, rows_per_shard=300, seed=0
        )
        stores.append(FeatureStore.open(tmp_path / name).rows(range(2000)))
    assert np.array_equal(stores[0], stores[1])
    assert np.allclose(stores[0].var(axis=0) * np.arange(1, 65), 1, rtol=0.2)


@pytest.mark.parametrize("wrong", [{"samples": ()}, {"queries": 0}, {"wide": (1,)}])
def test_impossible_options_are_refused(wrong):
    with pytest.raises(ConfigurationError, match="must be"):
        ScaleConfig(**wrong)
