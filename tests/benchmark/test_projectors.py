"""The projector benchmark: its theory by brute force, its files on a tiny run, its refusals."""

from __future__ import annotations

import json
import math

import pytest
import torch

from dtrak_stream.benchmark.projectors.accuracy import (
    error_variance,
    measure_accuracy,
    pair_products,
)
from dtrak_stream.benchmark.projectors.options import ProjectorKind, ProjectorsConfig
from dtrak_stream.benchmark.projectors.run import measure_projectors
from dtrak_stream.benchmark.projectors.vectors import UnitVectors, make_vectors
from dtrak_stream.errors import ConfigurationError, InputError, MemoryLimitError
from tests.commands_here import run_bench

PROJECTORS: list[ProjectorKind] = ["sketch", "rademacher", "normal"]
SMALL = {
    "num_parameters": 700,
    "rows": 6,
    "proj_dims": (64, 128),
    "sketch_seeds": 60,
    "rademacher_seeds": 60,
    "normal_seeds": 60,
    "repeats": 2,
    "quiet": True,
}


def unit_rows(rows, length, seed=0):
    """Return vectors whose first entries are far larger than the rest, each of length 1."""
    vectors = torch.randn(rows, length, generator=torch.Generator().manual_seed(seed))
    vectors[:, : length // 10] *= 5
    return vectors / vectors.norm(dim=1, keepdim=True)


def slow_variance(projector, x, y, proj_dim):
    """Entry by entry: pairs of entries that can meet in one place, each with chance 1 / k."""
    if projector == "normal":
        return float(x @ x * (y @ y) + (x @ y) ** 2) / proj_dim
    total = 0.0
    for i in range(len(x)):
        for j in range(i):
            if projector == "rademacher" or i // proj_dim != j // proj_dim:
                total += float(x[i] * y[j] + x[j] * y[i]) ** 2
    return total / proj_dim


@pytest.fixture(scope="module")
def numbers(tmp_path_factory, model_folder):
    """Run the real tool once; its JSON, with its Markdown and output as extras."""
    out = tmp_path_factory.mktemp("bench") / "small.run"
    flags = []
    for name, value in SMALL.items():
        values = value if isinstance(value, tuple) else (value,)
        flags += [f"--{name.replace('_', '-')}"] + [str(v) for v in values if v is not True]
    told = run_bench("projectors", *flags, "--model", model_folder, "--out", str(out))
    markdown = out.with_name("small.run.md")
    found = json.loads(out.with_name("small.run.json").read_text())
    assert told.stdout.splitlines()[-1] == str(markdown)
    return found | {"markdown": markdown.read_text(), "stderr": told.stderr}


@pytest.mark.parametrize("projector", PROJECTORS)
@pytest.mark.parametrize("length", [63, 64, 150])
def test_theory_equals_its_definition_entry_by_entry(projector, length):
    vectors = unit_rows(2, length)
    x, y = vectors.double()
    (found,) = error_variance(projector, vectors, 64).tolist()
    assert found == pytest.approx(slow_variance(projector, x, y, 64), rel=1e-5, abs=1e-8)


def test_the_sketch_is_never_worse_than_signs_in_theory():
    vectors = unit_rows(8, 500)
    sketch, signs = (error_variance(name, vectors, 64) for name in ("sketch", "rademacher"))
    assert bool((sketch <= signs).all())


def test_products_are_those_of_all_pairs_once():
    vectors = unit_rows(3, 70_000)  # more columns than are taken at a time
    exact = vectors.double() @ vectors.double().T
    expected = torch.stack([exact[0, 1], exact[0, 2], exact[1, 2]])
    torch.testing.assert_close(pair_products(vectors), expected)


@pytest.mark.parametrize("projector", PROJECTORS)
def test_errors_are_those_of_theory(projector):
    vectors = UnitVectors("gaussian", unit_rows(24, 1000))
    config = ProjectorsConfig(
        projectors=(projector,),
        proj_dims=(64,),
        sketch_seeds=60,
        rademacher_seeds=60,
        normal_seeds=60,
        quiet=True,
    )
    (found,) = measure_accuracy(config, [vectors])
    assert (found.seeds, found.pairs) == (60, 24 * 23 // 2)
    assert found.rms_standard_error < 0.05 * found.rms
    assert found.rms_over_theory == pytest.approx(1, abs=0.1)
    assert abs(found.mean) < 4 * found.mean_standard_error


def test_every_projector_and_length_is_measured_on_all_vectors(numbers):
    cases = [(name, k) for name in PROJECTORS for k in (64, 128)]
    assert [(each["projector"], each["proj_dim"]) for each in numbers["speed"]] == cases
    kinds = ("gaussian", "gradients")
    found = [(each["projector"], each["proj_dim"], each["vectors"]) for each in numbers["accuracy"]]
    assert found == [(*case, kind) for case in cases for kind in kinds]


def test_errors_are_near_theory(numbers):
    for each in numbers["accuracy"]:
        assert 0 < each["theory"] <= each["dense_theory"]
        assert each["rms_over_theory"] == pytest.approx(each["rms"] / each["theory"])
        slack = 4 * each["rms_standard_error"] / each["theory"]
        assert abs(each["rms_over_theory"] - 1) < slack + 0.2, each
        assert abs(each["mean"]) < 5 * each["mean_standard_error"]


def test_times_are_positive_and_their_ratio_is_right(numbers):
    for each in numbers["speed"]:
        assert each["seconds"] > 0
        assert each["read_seconds"] > 0
        assert each["first_seconds"] > 0
        assert each["ratio"] == pytest.approx(each["seconds"] / each["read_seconds"])
        assert (each["rows"], each["num_parameters"], each["repeats"]) == (6, 700, 2)


def test_files_say_what_was_run_and_where(numbers):
    assert numbers["options"]["proj-dims"] == [64, 128]
    assert numbers["options"]["normal-seeds"] == 60
    assert numbers["provenance"]["packages"]["torch"] == torch.__version__
    assert numbers["machine"]["cores"] >= 1
    assert numbers["machine"]["torch-threads"] >= 1
    assert numbers["machine"]["cpu"] in numbers["markdown"]


def test_markdown_holds_the_numbers(numbers):
    rows = [line for line in numbers["markdown"].splitlines() if line.startswith("| ")]
    for each in numbers["accuracy"]:
        name = f"| {each['projector']}, {each['vectors']} | {each['proj_dim']} |"
        (row,) = [row for row in rows if row.startswith(name)]
        for number in (each["rms"], each["dense_theory"], each["theory"]):
            assert f"| {number:.5f} |" in row
        assert f"{each['rms_over_theory']:.3f} ±" in row
    assert len(rows) == 2 + len(numbers["accuracy"]) + 2 + len(numbers["speed"])


def test_progress_is_told_but_not_drawn_when_quiet(numbers):
    assert "sketch, k = 64, gradients: RMS error" in numbers["stderr"]
    assert "%|" not in numbers["stderr"]


def test_vectors_are_of_length_1_and_as_long_as_asked(model_folder):
    config = ProjectorsConfig(model=model_folder, rows=3, num_parameters=500)
    kinds = make_vectors(config)
    assert [each.kind for each in kinds] == ["gaussian", "gradients"]
    for each in kinds:
        assert each.values.shape == (3, 500)
        torch.testing.assert_close(each.values.norm(dim=1), torch.ones(3))


def test_random_vectors_alone_need_no_model():
    config = ProjectorsConfig(model="missing", vectors=("gaussian",), num_parameters=10**6, rows=2)
    (vectors,) = make_vectors(config)
    assert vectors.values.shape == (2, 10**6)
    assert abs(float(vectors.values.double().square().sum(1).mean()) - 1) < 1e-6


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"num_parameters": 10**9}, ConfigurationError, "entries.*--vectors gaussian"),
        ({"images": "sklearn:digits[:3]"}, InputError, "has 3 images, 64 are wanted"),
        ({"vectors": ()}, ConfigurationError, "no kind of vector"),
        (
            {"vectors": ("gaussian",), "num_parameters": 10**12},
            MemoryLimitError,
            "lower --rows",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(model_folder, options, error, words):
    with pytest.raises(error, match=words):
        measure_projectors(ProjectorsConfig(model=model_folder, **options))


@pytest.mark.parametrize("option", ["rows", "sketch_seeds", "repeats", "num_parameters"])
def test_too_few_of_anything_is_refused(option):
    with pytest.raises(ConfigurationError, match=f"--{option.replace('_', '-')} -1: must be"):
        ProjectorsConfig(**{option: -1})  # type: ignore[arg-type]


def test_theory_of_long_random_vectors_is_one_over_root_k():
    vectors = make_vectors(ProjectorsConfig(vectors=("gaussian",), num_parameters=50_000, rows=4))
    for name in PROJECTORS:
        variance = error_variance(name, vectors[0].values, 64)
        assert math.sqrt(float(variance.mean())) == pytest.approx(1 / 8, rel=0.01)
