"""The main job from images to scores: complete, recorded, and not done twice."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import dtrak_stream
from dtrak_stream.cli.command_line import (
    EXIT_DONE,
)
from dtrak_stream.support.stamps import Stamping
from tests.attribution.jobs import (
    QUERIES,
    TRAIN,
    attributes,
    datasets,
    job,
    results_of,
)
from tests.small_jobs import (
    fingerprint_of,
    flags,
    run_tool,
    written_at,
)


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
        *("checks", "train features", "query features", "Gram matrix", "scores", "report")
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


def test_a_run_of_which_nothing_changed_writes_nothing(again, capsys):
    dtrak_stream.attribute(again)  # a copy is looked at once
    before = written_at(again.run)
    assert {"report/index.html", "config.yaml", "scores.h5", "gram.h5"} <= before.keys()
    result = dtrak_stream.attribute(again)
    assert written_at(again.run) == before
    assert (result.path, result.quarantined) == (again.run / "report" / "index.html", 0)
    dtrak_stream.attribute(dataclasses.replace(again, rehash=True))
    changed = {name for name, at in written_at(again.run).items() if before.get(name) != at}
    assert {"config.yaml", "report/index.html"} <= changed
    assert not changed & {"scores.h5", "gram.h5"}


def test_a_run_of_which_nothing_changed_looks_at_the_files_of_each_source_once(again, monkeypatch):
    dtrak_stream.attribute(again)  # a copy is looked at once
    looked_at, honest = list[str](), Stamping.tree

    def listed(stamping: Stamping, folder: Path, *others: Any) -> None:
        looked_at.append(str(folder))
        honest(stamping, folder, *others)

    monkeypatch.setattr(Stamping, "tree", listed)
    dtrak_stream.attribute(again)
    assert [looked_at.count(source) for source in (again.train, again.query)] == [1, 1]


def test_the_report_shows_the_options_of_the_call_that_wrote_it(again):
    options = dataclasses.replace(again.score_options, damping="12.5")
    page = dtrak_stream.attribute(dataclasses.replace(again, score_options=options)).path
    assert "damping: &#39;12.5&#39;" in page.read_text()


@pytest.mark.parametrize(("method", "function"), [("trak", "simple"), ("d-trak", "square")])
def test_the_method_chooses_the_output_function(model_folder, sources, tmp_path, method, function):
    config = job(model_folder, sources, tmp_path / "run", scores={"method": method}, limit=3)
    dtrak_stream.attribute(config)
    for store in ("train", "query"):
        assert fingerprint_of(config.run / store).output_function == function


def test_a_limit_takes_the_first_training_images(finished, model_folder, sources, tmp_path):
    config = job(model_folder, sources, tmp_path / "run", limit=3)
    config = dataclasses.replace(config, query_limit=2)
    dtrak_stream.attribute(config)
    arrays = datasets(config.run / "scores.h5")
    assert arrays["train_id"].tolist() == [b"000.png", b"001.png", b"002.png"]
    assert arrays["query_id"].tolist() == [b"000.png", b"001.png"]
    assert arrays["scores"].shape == (2, 3)
