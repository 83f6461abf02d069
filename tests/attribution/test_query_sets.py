"""Several sets of queries in one run: the training features are computed once for all."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
import yaml

import dtrak_stream
from dtrak_stream.attribution.query_sets import OtherQueriesError
from dtrak_stream.cli.command_line import EXIT_DONE
from tests.attribution.jobs import assert_same_scores, datasets
from tests.commands_here import run_command
from tests.small_jobs import flags, random_pixels, save_images, written_at


@pytest.fixture(scope="module")
def other_queries(tmp_path_factory):
    return save_images(tmp_path_factory.mktemp("other") / "queries", random_pixels(3, seed=5))


def shared(run) -> dict[str, tuple[int, int]]:
    """Return when each file was written that is not of a further set of queries."""
    return {
        name: at
        for name, at in written_at(run).items()
        if not name.startswith("queries/") and not name.endswith("checked.json")
    }


def test_a_named_set_has_a_folder_of_its_own_and_nothing_else_is_written(again, other_queries):
    before = shared(again.run)
    config = dataclasses.replace(again, query=f"mine={other_queries}")
    result = dtrak_stream.attribute(config)
    folder = again.run / "queries" / "mine"
    assert result.scores == folder / "scores.h5"
    assert result.path == folder / "report" / "index.html"
    assert {path.name for path in folder.iterdir()} >= {"query", "scores.h5", "report"}
    assert yaml.safe_load((folder / "config.yaml").read_text())["query"] == config.query
    assert shared(again.run) == before


def test_a_set_has_the_scores_that_a_run_of_its_own_has(again, other_queries, tmp_path):
    set_of_run = dataclasses.replace(again, query=f"mine={other_queries}")
    dtrak_stream.attribute(set_of_run)
    alone = dataclasses.replace(again, query=str(other_queries), run=tmp_path / "alone")
    dtrak_stream.attribute(alone)
    assert_same_scores(again.run / "queries" / "mine", alone.run)
    assert datasets(alone.run / "scores.h5")["scores"].shape[0] == 3


def test_a_set_may_be_the_first_of_a_run(again, tmp_path):
    config = dataclasses.replace(again, query=f"first={again.query}", run=tmp_path / "new")
    dtrak_stream.attribute(config)
    assert not (config.run / "query").exists()
    assert_same_scores(config.run / "queries" / "first", again.run)


def test_every_model_of_an_ensemble_has_its_queries(again, other_model_folder, other_queries):
    assert isinstance(again.model, str)
    config = dataclasses.replace(
        again,
        model=(again.model, other_model_folder),
        query=f"mine={other_queries}",
        run=again.run / "both",
    )
    dtrak_stream.attribute(config)
    for number in (0, 1):
        assert (config.run / "models" / str(number) / "train" / "store.json").exists()
        assert (
            config.run / "queries" / "mine" / "models" / str(number) / "query" / "store.json"
        ).exists()


def test_other_queries_without_a_name_become_a_set_that_is_found_again(again, other_queries):
    before = shared(again.run)
    command = flags(dataclasses.replace(again, query=str(other_queries)))
    told = run_command("attribute", *command)
    (folder,) = (again.run / "queries").iterdir()
    assert told.code == EXIT_DONE, told.stderr
    assert f"other queries than those of {again.run}: kept in {folder}, " in told.stderr
    assert shared(again.run) == before
    scores = written_at(folder)["scores.h5"]
    assert run_command("attribute", *command).stdout == told.stdout
    assert [path.name for path in (again.run / "queries").iterdir()] == [folder.name]
    assert written_at(folder)["scores.h5"] == scores


def test_a_smaller_number_of_queries_is_a_set_of_its_own_and_another_one_another(again):
    for limit in (2, 3, 2):
        dtrak_stream.attribute(dataclasses.replace(again, query_limit=limit))
    folders = sorted((again.run / "queries").iterdir())
    counts = {len(datasets(folder / "scores.h5")["query_id"]) for folder in folders}
    assert (len(folders), counts) == (2, {2, 3})


def test_the_same_queries_elsewhere_are_those_of_the_run(again, tmp_path):
    shutil.copytree(again.query, tmp_path / "copied")
    dtrak_stream.attribute(dataclasses.replace(again, query=str(tmp_path / "copied")))
    assert not (again.run / "queries").exists()


def test_changed_images_of_the_same_source_are_refused_with_what_to_do(again, tmp_path):
    shutil.copytree(again.query, tmp_path / "queries")
    shutil.copytree(again.run, tmp_path / "changing")
    config = dataclasses.replace(again, query=str(tmp_path / "queries"), run=tmp_path / "changing")
    dtrak_stream.attribute(config)
    save_images(tmp_path / "queries", np.zeros((1, 8, 8), np.uint8))
    before = written_at(config.run)
    told = "images differs: .*; write --query NAME=SRC to keep them beside these, in queries/NAME"
    with pytest.raises(OtherQueriesError, match=told):
        dtrak_stream.attribute(config)
    assert written_at(config.run) == before


def test_other_images_under_a_name_that_is_taken_are_refused(again, other_queries):
    dtrak_stream.attribute(dataclasses.replace(again, query=f"mine={other_queries}"))
    with pytest.raises(OtherQueriesError, match="queries/mine/query: images differs"):
        dtrak_stream.attribute(dataclasses.replace(again, query=f"mine={again.query}"))


def test_other_queries_of_a_run_without_a_record_are_refused(again, other_queries):
    (again.run / "config.yaml").unlink()
    with pytest.raises(OtherQueriesError, match="write --query NAME=SRC"):
        dtrak_stream.attribute(dataclasses.replace(again, query=str(other_queries)))
    assert not (again.run / "queries").exists()


def test_verifying_a_run_checks_every_set(again, other_queries):
    dtrak_stream.attribute(dataclasses.replace(again, query=f"mine={other_queries}"))
    told = run_command("verify", "--run", str(again.run), "--quiet")
    assert told.code == EXIT_DONE, told.stderr
    for name in ("query", "queries/mine/query", "queries/mine/scores.h5", "train", "scores.h5"):
        assert f"ok  {name}: " in told.stderr


def test_other_rows_of_the_same_source_are_other_queries(again, tmp_path):
    rows = tmp_path / "rows.txt"
    rows.write_text("1\n0\n")
    picking = dataclasses.replace(
        again, query_image_options=dtrak_stream.QueryImageOptions(query_rows=rows)
    )
    first = dtrak_stream.attribute(picking)
    assert first.scores.parent.parent == again.run / "queries"
    assert dtrak_stream.attribute(picking).scores == first.scores
    whole = datasets(again.run / "scores.h5")["scores"]
    turned = datasets(first.scores)["scores"]  # in other rows of the products: rounded otherwise
    np.testing.assert_allclose(turned, whole[[1, 0]], atol=1e-6 * np.abs(whole).max())
    assert dtrak_stream.attribute(again).scores == again.run / "scores.h5"
