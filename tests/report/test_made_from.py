"""A report is left alone while nothing it was made from changed, and nothing else is."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dtrak_stream.data.source_stamp import SourceStamps
from dtrak_stream.report import write as write_module
from dtrak_stream.report.options import ReportOptions
from dtrak_stream.report.places import MADE_FROM_NAME
from dtrak_stream.report.update import update_report
from dtrak_stream.report.write import write_report
from dtrak_stream.support import stamps as stamps_module
from tests.report.conftest import Run
from tests.small_jobs import written_at

PAGE = "index.html"


def edit(path: Path) -> None:
    """Change a byte and put the old times back, as far as a user can."""
    status = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_report_of_which_nothing_changed_is_left_alone(run: Run, monkeypatch, capsys) -> None:
    update_report(run.config)
    before = written_at(run.config.out)
    assert MADE_FROM_NAME in before

    def forbidden(*_arguments: object) -> None:
        raise AssertionError("this is not to be opened")

    monkeypatch.setattr(write_module, "ScoresFile", forbidden)
    monkeypatch.setattr(write_module, "open_images", forbidden)
    assert update_report(run.config).path == run.config.out / PAGE
    assert written_at(run.config.out) == before
    assert "already complete" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        lambda run: run.write_scores(method="trak"),
        lambda run: edit(run.folder / "train" / run.train_ids[29]),
        lambda run: edit(run.folder / "query" / run.query_ids[0]),
        lambda run: (run.folder / "config.yaml").write_text("method: trak\n"),
        lambda run: edit(run.config.out / PAGE),
        lambda run: (run.config.out / PAGE).unlink(),
        lambda run: (run.config.out / "grids" / "query-00001.png").unlink(),
        lambda run: (run.config.out / MADE_FROM_NAME).write_text(
            '{"options": 1, "files": 2, "report": 3}'
        ),
        lambda run: (run.config.out / MADE_FROM_NAME).unlink(),
    ],
)
def test_whatever_changed_makes_it_again(run: Run, change: Callable[[Run], object]) -> None:
    update_report(run.config)
    before = written_at(run.config.out)
    change(run)
    update_report(run.config)
    after = written_at(run.config.out)
    assert after.keys() == before.keys()
    assert all(after[name] != before[name] for name in before)
    update_report(run.config)
    assert written_at(run.config.out) == after


def test_other_options_make_it_again_and_quiet_is_none_of_them(run: Run) -> None:
    update_report(run.config)
    before = written_at(run.config.out)
    update_report(replace(run.config, quiet=False))
    assert written_at(run.config.out) == before
    update_report(replace(run.config, report=ReportOptions(proponents=3)))
    assert written_at(run.config.out)[PAGE] != before[PAGE]


def test_another_version_of_this_package_makes_it_again(run: Run, tmp_path, monkeypatch) -> None:
    update_report(run.config)
    before = written_at(run.config.out)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "page.html.j2").write_text("<p>")
    monkeypatch.setattr(stamps_module, "_PACKAGE", tmp_path / "package")
    update_report(run.config)
    assert written_at(run.config.out)[PAGE] != before[PAGE]


def test_an_image_that_changes_while_the_report_is_written_is_found_by_the_next_call(
    run: Run, monkeypatch
) -> None:
    honest = write_module._write

    def write_and_change(*arguments: object) -> None:
        honest(*arguments)  # type: ignore[arg-type]
        edit(run.folder / "train" / run.train_ids[29])

    with monkeypatch.context() as patch:
        patch.setattr(write_module, "_write", write_and_change)
        update_report(run.config)
    before = written_at(run.config.out)
    update_report(run.config)
    assert written_at(run.config.out)[PAGE] != before[PAGE]


def test_a_report_that_is_asked_for_by_itself_is_always_written(run: Run) -> None:
    update_report(run.config)
    before = written_at(run.config.out)
    write_report(run.config)
    assert written_at(run.config.out)[PAGE] != before[PAGE]


def test_a_report_is_judged_by_stamps_that_were_taken_before(run: Run) -> None:
    update_report(run.config)
    before, stamps = written_at(run.config.out), SourceStamps()
    for source, options in (
        (run.config.train, run.config.images),
        (run.config.query, run.config.query_images),
    ):
        stamps.of(source, options)
    edit(run.folder / "train" / run.train_ids[29])
    update_report(run.config, stamps=stamps)
    assert written_at(run.config.out) == before
    update_report(run.config)
    assert written_at(run.config.out)[PAGE] != before[PAGE]
