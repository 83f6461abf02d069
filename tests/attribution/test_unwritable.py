"""A finished run where nobody may write: read as it is; whatever would write is refused at once."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dtrak_stream import AttributeConfig, attribute
from dtrak_stream.errors import InputError
from dtrak_stream.gram.options import GramConfig
from dtrak_stream.gram.run import compute_gram
from tests.attribution.jobs import Finished
from tests.small_jobs import written_at

NOBODY = 65534


@pytest.fixture
def archived(finished: Finished) -> Iterator[AttributeConfig]:
    """A finished run, and what it was made from, in folders that nobody may write to."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        shutil.copytree(finished.config.run, root / "run")
        model = shutil.copytree(str(finished.config.model), root / "model")
        for side in ("train", "query"):
            shutil.copytree(getattr(finished.config, side), root / side)
        config = dataclasses.replace(
            finished.config,
            run=root / "run",
            model=str(model),
            train=str(root / "train"),
            query=str(root / "query"),
        )
        attribute(config)
        folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
        for folder in folders:
            folder.chmod(0o555)
        as_root = os.geteuid() == 0
        if as_root:
            os.seteuid(NOBODY)
        try:
            yield config
        finally:
            if as_root:
                os.seteuid(0)
            for folder in folders:
                folder.chmod(0o755)


def test_a_finished_run_that_cannot_be_written_is_read_as_it_is(archived, capsys):
    before = written_at(archived.run)
    assert attribute(archived).path == archived.run / "report" / "index.html"
    assert capsys.readouterr().err.count("already complete") == 5
    assert written_at(archived.run) == before


def test_another_version_leaves_the_record_of_a_run_that_cannot_be_written(archived, monkeypatch):
    before = written_at(archived.run)
    monkeypatch.setattr("dtrak_stream.support.provenance.provenance", lambda: {"python": "9"})
    attribute(archived)
    assert written_at(archived.run) == before


def test_a_finished_gram_matrix_is_read_where_it_cannot_be_written(archived):
    config = GramConfig(archived.run / "train", archived.run / "gram.h5", archived.gram_options)
    assert compute_gram(config).path == config.out


@pytest.mark.parametrize("changes", [{"damping": "3"}, {"top_k": 2}])
def test_what_would_write_scores_there_is_refused(archived, changes):
    options = dataclasses.replace(archived.score_options, **changes)
    with pytest.raises(InputError, match="cannot be written to"):
        attribute(dataclasses.replace(archived, score_options=options))


def test_what_would_write_a_report_there_is_refused_before_scoring(archived, monkeypatch):
    monkeypatch.setattr("dtrak_stream.attribution.run.score", None)
    report = dataclasses.replace(archived.report, proponents=2)
    with pytest.raises(InputError, match="cannot be written to"):
        attribute(dataclasses.replace(archived, report=report))
