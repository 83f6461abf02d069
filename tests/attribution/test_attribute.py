"""The main job from images to scores: complete, resumable, and with the right sign."""

from __future__ import annotations

import dataclasses
import shutil
import signal
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml

import dtrak_stream
from dtrak_stream import AttributeConfig, GramConfig, GramOptions, ScoreConfig, ScoreOptions
from dtrak_stream.cli.command_line import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_QUARANTINED,
    EXIT_REFUSED,
)
from dtrak_stream.errors import ConfigurationError, FingerprintMismatchError, InputError
from dtrak_stream.gram import Gram
from tests.crashing import finishes_before_step
from tests.small_jobs import (
    ALIKE,
    fingerprint_of,
    flags,
    random_pixels,
    run_tool,
    save_images,
    signalled,
    small_features,
    small_job,
    spoil,
    start_tool,
    written_at,
)

TRAIN, QUERIES = 12, 4


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> tuple[Path, Path]:
    """Training images, and queries of which the first two are training images as well."""
    root = tmp_path_factory.mktemp("sources")
    train = random_pixels(TRAIN)
    query = np.concatenate([train[[7, 2]], random_pixels(2, seed=1)])
    return save_images(root / "train", train), save_images(root / "query", query)


def job(
    model: str,
    sources: tuple[Path, Path],
    run: Path,
    *,
    scores: dict[str, Any] | None = None,
    gram_form: Any = "auto",
    limit: int | None = None,
    **features: Any,
) -> AttributeConfig:
    return AttributeConfig(
        model=model,
        train=str(sources[0]),
        query=str(sources[1]),
        run=run,
        limit=limit,
        features=small_features(**{"rows_per_shard": 5, **features}),
        execution=ALIKE,
        score_options=ScoreOptions(**{"damping": "0.1", "top_k": 5, **(scores or {})}),
        gram_options=GramOptions(gram_form=gram_form),
        quiet=True,
    )


def datasets(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: file[name][()] for name in file}


def attributes(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        return dict(file.attrs)


def results_of(run: Path) -> dict[str, tuple[int, int]]:
    """Return when each file but the report and the record was written."""
    files = written_at(run)
    kept = {name: at for name, at in files.items() if not name.startswith(("report/", "config."))}
    assert {"gram.h5", "scores.h5", "train/store.json", "query/store.json"} <= set(kept)
    return kept


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run of the real command in a process of its own."""

    config: AttributeConfig
    code: int
    out: str
    errors: str


@pytest.fixture(scope="module")
def finished(model_folder, sources, tmp_path_factory) -> Finished:
    config = job(model_folder, sources, tmp_path_factory.mktemp("finished") / "run")
    process = start_tool("attribute", flags(config))
    out, errors = process.communicate(timeout=120)
    return Finished(config, process.returncode, out, errors)


@pytest.fixture
def again(finished, tmp_path):
    """A copy of the finished run, with the configuration it was made with."""
    shutil.copytree(finished.config.run, tmp_path / "run")
    return dataclasses.replace(finished.config, run=tmp_path / "run")


def test_the_command_ends_with_the_page_of_the_report(finished):
    page = finished.config.run / "report" / "index.html"
    assert finished.code == EXIT_DONE, finished.errors
    assert finished.out.splitlines()[-1] == str(page)
    assert page.is_file()


def test_a_run_folder_holds_the_files_that_are_promised(finished):
    run = finished.config.run
    promised = {"train", "query", "gram.h5", "scores.h5", "report", "config.yaml"}
    assert promised <= {path.name for path in run.iterdir()}
    for store in ("train", "query"):
        promised = {"store.json", "shards", "features.h5"}
        assert promised <= {path.name for path in (run / store).iterdir()}
    assert not list(run.rglob("*.partial"))
    assert not list(run.rglob("*.parts"))
    assert len(list((run / "report" / "grids").iterdir())) == QUERIES


def test_the_record_of_a_run_is_its_resolved_configuration(finished):
    record = yaml.safe_load((finished.config.run / "config.yaml").read_text())
    assert record["output-function"] == "square"
    assert (record["damping"], record["proj-dim"]) == ("0.1", 64)
    assert "git-revision" in record["provenance"]


def test_the_scores_file_tells_what_it_holds(finished):
    path = finished.config.run / "scores.h5"
    arrays, told = datasets(path), attributes(path)
    assert {name: array.shape for name, array in arrays.items()} == {
        "scores": (QUERIES, TRAIN),
        **{
            f"{end}_{part}": (QUERIES, 5)
            for end in ("top", "bottom")
            for part in ("index", "score")
        },
        "query_id": (QUERIES,),
        "train_id": (TRAIN,),
    }
    assert arrays["train_id"].tolist() == [f"{i:03d}.png".encode() for i in range(TRAIN)]
    assert (told["method"], told["transform"]) == ("d-trak", "none")
    assert "positive = proponent" in told["sign_convention"]
    for store in ("train", "query"):
        fingerprint = fingerprint_of(finished.config.run / store).hash()
        assert told[f"{store}_fingerprint"] == fingerprint


def test_a_second_run_computes_nothing_again(again, capsys):
    before = results_of(again.run)
    code, out, errors = run_tool("attribute", flags(again), capsys)
    assert (code, out.splitlines()[-1]) == (EXIT_DONE, str(again.run / "report" / "index.html"))
    assert results_of(again.run) == before
    assert errors.count("already complete") == 4


def test_the_record_of_a_run_starts_the_same_run(again, capsys):
    before = results_of(again.run)
    record = ["--config", str(again.run / "config.yaml"), "--run", str(again.run)]
    assert run_tool("attribute", record, capsys)[0] == EXIT_DONE
    assert results_of(again.run) == before


def test_python_and_the_command_give_the_same_scores(finished, tmp_path):
    config = dataclasses.replace(finished.config, run=tmp_path / "run")
    result = dtrak_stream.attribute(config)
    assert result.path == tmp_path / "run" / "report" / "index.html"
    assert result.scores == tmp_path / "run" / "scores.h5"
    assert result.quarantined == 0
    assert set(result.seconds) == {
        *("train features", "query features", "Gram matrix", "scores", "report")
    }
    with dtrak_stream.ScoresFile(result.scores) as scores:
        assert (scores.query_count, scores.train_count) == (QUERIES, TRAIN)
    expected = datasets(finished.config.run / "scores.h5")
    for name, array in datasets(result.scores).items():
        assert np.array_equal(array, expected[name]), name


def test_other_damping_computes_the_scores_alone_again(again):
    before, scores = results_of(again.run), datasets(again.run / "scores.h5")["scores"]
    options = dataclasses.replace(again.score_options, damping="10")
    dtrak_stream.attribute(dataclasses.replace(again, score_options=options))
    after = results_of(again.run)
    assert {name for name in after if after[name] != before[name]} == {
        "scores.h5",
        "scores.config.yaml",
    }
    assert not np.allclose(datasets(again.run / "scores.h5")["scores"], scores)
    assert yaml.safe_load((again.run / "config.yaml").read_text())["damping"] == "10"


def test_squared_scores_are_the_squares_of_the_scores(again):
    scores = datasets(again.run / "scores.h5")["scores"]
    options = dataclasses.replace(again.score_options, transform="square")
    dtrak_stream.attribute(dataclasses.replace(again, score_options=options))
    squared = datasets(again.run / "scores.h5")["scores"]
    assert np.allclose(squared, scores**2, rtol=1e-6)


def reference_scores(run: Path, damping: float) -> np.ndarray:
    """phi_q^T (Phi^T Phi + lambda I)^-1 phi_n in float64 from the stores: (Q, N)."""

    def features(store):
        arrays = datasets(run / store / "features.h5")
        return arrays["features"].astype(np.float64) * arrays["scale"][:, None]

    phi, queries = features("train"), features("query")
    kernel = phi.T @ phi + damping * np.eye(phi.shape[1])
    scores: np.ndarray = queries @ np.linalg.solve(kernel, phi.T)
    return scores


@pytest.fixture(scope="module", params=["float16", "float32"])
def stores(request, model_folder, sources, tmp_path_factory) -> Path:
    root: Path = tmp_path_factory.mktemp("stores")
    for name, source in zip(("train", "query"), sources):
        options = {"dtype": request.param, "rows_per_shard": 5}
        dtrak_stream.featurize(small_job(model_folder, source, root / name, **options))
    return root


@pytest.mark.parametrize("damping", ["auto", "0.01", "abs:0.002"])
def test_scores_equal_the_formula_in_both_forms(stores, tmp_path, damping):
    found = {}
    for form in ("primal", "dual"):
        gram, out = tmp_path / f"{form}.h5", tmp_path / f"{form}-scores.h5"
        dtrak_stream.compute_gram(GramConfig(stores / "train", gram, GramOptions(gram_form=form)))
        options = ScoreOptions(damping=damping)
        dtrak_stream.score(ScoreConfig(stores / "train", stores / "query", gram, out, options))
        assert attributes(out)["gram_form"] == form
        expected = reference_scores(stores, attributes(out)["damping_absolute"])
        found[form] = datasets(out)["scores"]
        assert np.abs(found[form] - expected).max() < 1e-4 * np.abs(expected).max()
    assert np.abs(found["primal"] - found["dual"]).max() < 1e-4 * np.abs(found["dual"]).max()


def test_damping_is_a_multiple_of_the_mean_eigenvalue(finished):
    gram = Gram.open(finished.config.run / "gram.h5").matrix()
    told = attributes(finished.config.run / "scores.h5")
    assert np.isclose(told["damping_absolute"], 0.1 * np.trace(gram) / TRAIN, rtol=1e-6)
    assert np.isclose(told["damping_relative"], 0.1)


@pytest.mark.parametrize("method", ["trak", "d-trak"])
def test_a_training_image_is_its_own_strongest_proponent(model_folder, sources, tmp_path, method):
    options = {"method": method, "damping": "0.001"}
    config = job(model_folder, sources, tmp_path / "run", scores=options)
    dtrak_stream.attribute(config)
    scores = datasets(config.run / "scores.h5")
    for query, itself in enumerate((7, 2)):
        assert scores["scores"][query].argmax() == itself
        assert scores["top_index"][query, 0] == itself
        assert scores["top_score"][query, 0] > 0.5
        assert scores["bottom_score"][query, 0] < scores["top_score"][query, 0] / 2


def test_the_lists_hold_the_highest_and_the_lowest_scores(finished):
    arrays = datasets(finished.config.run / "scores.h5")
    order = np.argsort(arrays["scores"], axis=1)
    assert np.array_equal(arrays["top_index"], order[:, ::-1][:, :5])
    assert np.array_equal(arrays["bottom_index"], order[:, :5])
    for end in ("top", "bottom"):
        listed = np.take_along_axis(arrays["scores"], arrays[f"{end}_index"], axis=1)
        assert np.array_equal(arrays[f"{end}_score"], listed)


@pytest.mark.parametrize(("method", "function"), [("trak", "simple"), ("d-trak", "square")])
def test_the_method_chooses_the_output_function(model_folder, sources, tmp_path, method, function):
    config = job(model_folder, sources, tmp_path / "run", scores={"method": method}, limit=3)
    dtrak_stream.attribute(config)
    for store in ("train", "query"):
        assert fingerprint_of(config.run / store).output_function == function


@pytest.mark.parametrize(
    ("method", "function", "told"),
    [
        ("trak", "square", "trak takes features of simple, elbo, not of square"),
        ("d-trak", "simple", "not of simple"),
        ("d-trak", "interpolation(x)", "unknown output function"),
        ("magic", "square", "unknown method"),
    ],
)
def test_a_method_refuses_features_it_is_not_defined_on(
    model_folder, sources, tmp_path, method, function, told
):
    options = {"scores": {"method": method}, "output_function": function}
    with pytest.raises(ConfigurationError, match=r"^--(method|output-function) ") as refused:
        dtrak_stream.attribute(job(model_folder, sources, tmp_path / "run", **options))
    assert told in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_limit_takes_the_first_training_images(finished, model_folder, sources, tmp_path):
    config = job(model_folder, sources, tmp_path / "run", limit=3)
    config = dataclasses.replace(config, query_limit=2)
    dtrak_stream.attribute(config)
    arrays = datasets(config.run / "scores.h5")
    assert arrays["train_id"].tolist() == [b"000.png", b"001.png", b"002.png"]
    assert arrays["query_id"].tolist() == [b"000.png", b"001.png"]
    assert arrays["scores"].shape == (2, 3)


@pytest.fixture(scope="module")
def spoilt(model_folder, sources, tmp_path_factory):
    """A run with two corrupt training images and a corrupt query, and one without those three."""
    root = tmp_path_factory.mktemp("spoilt")
    bad = tuple(Path(shutil.copytree(source, root / f"bad-{source.name}")) for source in sources)
    good = tuple(Path(shutil.copytree(source, root / f"good-{source.name}")) for source in sources)
    for folder, name in ((0, "003.png"), (0, "009.png"), (1, "001.png")):
        spoil(bad[folder] / name)
        (good[folder] / name).unlink()
    options: dict[str, Any] = {
        "gram_form": "primal",
        "scores": {"top_k": TRAIN},
        "dtype": "float32",
    }
    configs = [
        job(model_folder, (bad[0], bad[1]), root / "bad", **options),
        job(model_folder, (good[0], good[1]), root / "good", **options),
    ]
    results = [dtrak_stream.attribute(config) for config in configs]
    assert [result.quarantined for result in results] == [3, 0]
    return configs[0], configs[1]


def test_quarantined_images_give_exit_code_3(spoilt, capsys):
    code, out, errors = run_tool("attribute", flags(spoilt[0]), capsys)
    assert (code, out.splitlines()[-1]) == (
        EXIT_QUARANTINED,
        str(spoilt[0].run / "report" / "index.html"),
    )
    assert f"2 samples quarantined, see {spoilt[0].run}/train/quarantine.jsonl" in errors


def test_quarantined_images_are_absent_from_the_gram_matrix(spoilt):
    bad, good = (Gram.open(config.run / "gram.h5").matrix() for config in spoilt)
    assert np.allclose(bad, good, rtol=1e-5, atol=1e-6 * np.abs(good).max())


def test_quarantined_images_have_no_score_and_change_no_other(spoilt):
    bad, good = (datasets(config.run / "scores.h5") for config in spoilt)
    kept_train = [row for row in range(TRAIN) if row not in (3, 9)]
    assert np.isnan(bad["scores"][:, [3, 9]]).all()
    assert np.isnan(bad["scores"][1]).all()
    kept = bad["scores"][np.ix_([0, 2, 3], kept_train)]
    assert np.allclose(kept, good["scores"], rtol=1e-3, atol=1e-5 * np.abs(good["scores"]).max())


def test_quarantined_images_are_never_listed(spoilt):
    arrays = datasets(spoilt[0].run / "scores.h5")
    for end in ("top", "bottom"):
        index, scores = arrays[f"{end}_index"], arrays[f"{end}_score"]
        assert (index[1] == -1).all()
        for query in (0, 2, 3):
            assert set(index[query]) == {-1, *range(TRAIN)} - {3, 9}
        assert np.array_equal(np.isnan(scores), index == -1)


def test_a_run_of_other_options_is_refused_and_nothing_is_changed(again):
    before = written_at(again.run)
    features = dataclasses.replace(again.features, seed=1)
    with pytest.raises(FingerprintMismatchError, match="seed differs: stored 0, requested 1"):
        dtrak_stream.attribute(dataclasses.replace(again, features=features))
    assert written_at(again.run) == before


def score_flags(run: Path, query: Path, **changes: str) -> list[str]:
    options = {
        "train": run / "train",
        "query": query,
        "gram": run / "gram.h5",
        "out": query.parent / "scores.h5",
        **changes,
    }
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("projector", {"projector": "rademacher"}),
        ("output_function", {"output_function": "l1"}),
        ("seed", {"seed": 1}),
        ("proj_dim", {"proj_dim": 128}),
        ("timesteps", {"timesteps": "list:0"}),
        ("noise_keying", {"noise": "per-sample"}),
        ("noise_draws", {"noise_draws": 2}),
        ("parameters", {"parameters": "bias"}),
        ("precision", {"precision": "bfloat16"}),
        ("weights", {}),
    ],
)
def test_queries_featurized_otherwise_are_refused(
    finished, model_folder, other_model_folder, sources, tmp_path, capsys, field, changes
):
    model = model_folder if changes else other_model_folder
    query = small_job(model, sources[1], tmp_path / "query", limit=1, **changes)
    dtrak_stream.featurize(query)
    command = score_flags(finished.config.run, query.store)
    code, out, errors = run_tool("score", command, capsys)
    assert (code, out) == (EXIT_REFUSED, "")
    (line,) = errors.splitlines()[-1:]
    assert line.startswith(f"error: {query.store}: {field} differs: stored ")
    assert not (tmp_path / "scores.h5").exists()


def test_queries_may_be_stored_otherwise(finished, model_folder, sources, tmp_path, capsys):
    query = small_job(
        model_folder, sources[1], tmp_path / "query", dtype="float32", rows_per_shard=1
    )
    dtrak_stream.featurize(query)
    command = score_flags(finished.config.run, query.store, damping="0.1")
    assert run_tool("score", command, capsys)[0] == EXIT_DONE
    expected = datasets(finished.config.run / "scores.h5")["scores"]
    found = datasets(tmp_path / "scores.h5")["scores"]
    assert np.allclose(found, expected, rtol=0.02, atol=1e-3 * np.abs(expected).max())


def test_features_of_another_method_are_refused(finished, tmp_path, capsys):
    shutil.copytree(finished.config.run / "query", tmp_path / "query")
    command = score_flags(finished.config.run, tmp_path / "query", method="trak")
    code, out, errors = run_tool("score", command, capsys)
    assert (code, out) == (EXIT_REFUSED, "")
    assert errors.startswith("error: --method trak: trak takes features of simple, elbo")


def test_a_missing_source_of_queries_is_refused(model_folder, sources, tmp_path):
    config = job(model_folder, (sources[0], tmp_path / "gone"), tmp_path / "run", limit=3)
    with pytest.raises(InputError, match="gone: does not exist"):
        dtrak_stream.attribute(config)
    # what is done stays, and the right source finishes the run
    mended = dataclasses.replace(config, query=str(sources[1]))
    assert dtrak_stream.attribute(mended).scores.exists()


def assert_same_scores(first: Path, second: Path) -> None:
    found, expected = datasets(first / "scores.h5"), datasets(second / "scores.h5")
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert np.array_equal(found[name], array, equal_nan=array.dtype.kind == "f"), name


def test_an_interrupted_run_goes_on_and_gives_the_same_scores(model_folder, sources, tmp_path):
    train = save_images(tmp_path / "many", random_pixels(40))
    long: dict[str, Any] = {"rows_per_shard": 1, "timesteps": "uniform:50"}
    config = job(model_folder, (train, sources[1]), tmp_path / "run", **long)
    process = start_tool("attribute", flags(config))
    third = config.run / "train" / "shards" / "00000002.h5"
    code, out, errors = signalled(process, signal.SIGINT, third.exists, 0.0)
    assert (code, out) == (EXIT_INTERRUPTED, ""), errors
    assert "run the same command again" in errors.splitlines()[-1]
    done = written_at(config.run / "train" / "shards")
    assert 3 <= len(done) < 40
    dtrak_stream.attribute(config)
    assert done.items() <= written_at(config.run / "train" / "shards").items()
    whole = dataclasses.replace(config, run=tmp_path / "whole")
    dtrak_stream.attribute(whole)
    assert_same_scores(config.run, whole.run)


def test_a_run_killed_in_every_stage_gives_the_same_scores(finished, tmp_path):
    config = dataclasses.replace(finished.config, run=tmp_path / "run")
    reached: list[set[str]] = []
    while not finishes_before_step(lambda: dtrak_stream.attribute(config), 6 + 2 * len(reached)):
        reached.append({path.name for path in config.run.iterdir()})
        assert len(reached) < 50, "no progress from one restart to the next"
    for result in ("query", "gram.h5", "scores.h5"):
        killed = [result in files for files in reached]
        assert killed == sorted(killed)
        assert any(killed), f"no kill came after {result}"
    assert not all("query" in files for files in reached)
    assert_same_scores(config.run, finished.config.run)
    assert not list(config.run.rglob("*.partial"))
    assert not list(config.run.rglob("*.parts"))
