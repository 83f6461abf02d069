"""Files by which other programs watch a run: whole at any time, and nobody else's."""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path

import pytest

from dtrak_stream.support import shown_file
from dtrak_stream.support.progress import heard_by, progress, say
from dtrak_stream.support.watching import LOG, STATUS, Ending, Forgiving, JsonLog, StatusFile

ENDED = Ending("interrupted", 130, "2 of 3 shards\nare kept")
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


@pytest.fixture
def clock_at(monkeypatch):
    """Return a function that sets the time that the files go by."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, seconds)


def status_in(path: Path) -> str:
    """Return what a status file tells behind the time."""
    content = path.read_text()
    assert re.fullmatch(f"{TIME} dtrak-stream featurize .*\n", content), content
    return content.strip().partition("dtrak-stream featurize ")[2]


def logged(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_status_is_one_line_of_the_last_second_and_in_the_end_how_it_ended(tmp_path, clock_at):
    path = tmp_path / "new" / "status"
    status = StatusFile(path, "featurize")
    assert status_in(path) == "running: begun"
    with heard_by(status), progress(90, description="rows", unit="img", visible=False) as bar:
        clock_at(0.9)
        bar.update(10)
        assert status_in(path) == "running: begun"
        clock_at(2)
        bar.update(10)
        assert status_in(path) == "running: rows: 20/90 img, 10.0 img/s, 0:07 left"
        clock_at(2.8)
        bar.update(10)
        assert "20/90" in status_in(path)
    status.ended(ENDED)
    assert status_in(path) == "interrupted: 2 of 3 shards are kept"
    assert [each.name for each in path.parent.iterdir()] == ["status"]


def test_the_log_tells_begin_remarks_progress_and_end(tmp_path, clock_at):
    path = tmp_path / "new" / "log"
    log = JsonLog(path, "featurize", "1.2")
    with heard_by(log), progress(90, description="rows", unit="img", visible=False) as bar:
        say("a remark")
        for second in range(1, 25):
            clock_at(second)
            bar.update(2)
    log.ended(ENDED)
    begin, first, remark, *counts, end = logged(path)
    assert all(re.fullmatch(TIME, str(each["time"])) for each in logged(path))
    assert (begin["event"], begin["command"], begin["version"]) == ("begin", "featurize", "1.2")
    assert (first["event"], first["done"], first["total"]) == ("progress", 0, 90)
    assert (remark["event"], remark["level"], remark["message"]) == ("remark", "info", "a remark")
    assert [each["done"] for each in counts] == [20, 40, 48]
    assert counts[1] == {
        **{"time": counts[1]["time"], "level": "info", "event": "progress", "note": ""},
        **{"stage": "rows", "unit": "img", "done": 40, "total": 90},
        **{"per_second": 2.0, "seconds_left": 25.0},
    }
    assert end["level"] == "warning"
    assert (end["event"], end["outcome"], end["exit_code"]) == ("end", "interrupted", 130)


def test_a_log_goes_on_behind_the_line_that_a_killed_process_left_half(tmp_path):
    path = tmp_path / "log"
    JsonLog(path, "featurize", "1")
    path.write_bytes(path.read_bytes() + b'{"time": "2026')
    JsonLog(path, "featurize", "2").said("whole")
    first, half, *rest = path.read_text().splitlines()
    assert half == '{"time": "2026'
    assert [json.loads(line)["event"] for line in (first, *rest)] == ["begin", "begin", "remark"]


@pytest.mark.parametrize(
    "content",
    [b"", b"precious\n", b"\xff\xfe", b'{"time": 1}\n', b"[" * 60000, b"null\n", b"3"],
)
def test_other_files_are_neither_status_files_nor_logs(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert not STATUS.knows(path)
    assert not LOG.knows(path)


def test_a_status_file_and_a_log_are_known_again_as_what_they_are(tmp_path):
    status, log = tmp_path / "status", tmp_path / "log"
    StatusFile(status, "bench size").ended(ENDED)
    JsonLog(log, "bench size", "1")
    assert [STATUS.knows(status), LOG.knows(log)] == [True, True]
    assert [STATUS.knows(log), LOG.knows(status)] == [False, False]
    status.write_text(status.read_text() + "and my notes\n")
    assert not STATUS.knows(status)


@pytest.mark.parametrize("kind", ["status", "log"])
def test_a_run_goes_on_when_its_files_cannot_be_written_any_more(
    tmp_path, kind, monkeypatch, capsys
):
    path = tmp_path / "file"
    made = StatusFile(path, "gram") if kind == "status" else JsonLog(path, "gram", "1")
    before, watcher = path.read_bytes(), Forgiving(made, f"--{kind}")

    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(shown_file, "show_text", full)
    monkeypatch.setattr(Path, "open", full)
    for _ in range(2):
        watcher.ended(ENDED)
    monkeypatch.undo()
    [told] = capsys.readouterr().err.splitlines()
    assert told.startswith(f"--{kind} is not written any more: [Errno 28] No space left on device")
    assert path.read_bytes() == before
