"""The page in a real browser, where one is installed: hostile names run nothing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.report.conftest import Run

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
OWNED = "document.title=`owned`"
HOSTILE = (
    f"<img src=x onerror={OWNED}>.png",
    f"\"'><svg onload={OWNED}>.png",
    f"' onmouseover='{OWNED}' autofocus onfocus='{OWNED}'.png",
    f"{{{{''.constructor.constructor('{OWNED}')()}}}}.png",
)

pytestmark = pytest.mark.skipif(not BROWSER, reason="no Chromium is installed")


def shown(page: Path, folder: Path) -> str:
    """Return the page as the browser has it once all its scripts and images were tried."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={folder}", "--virtual-time-budget=3000", "--dump-dom"]
    told = subprocess.run(
        [*command, page.absolute().as_uri()], capture_output=True, text=True, timeout=120
    )
    assert told.returncode == 0, told.stderr
    return told.stdout


def test_hostile_names_run_nothing_in_a_browser(run: Run, tmp_path: Path) -> None:
    for number, hostile in enumerate(HOSTILE):
        for folder, ids in (("train", run.train_ids), ("query", run.query_ids)):
            if number < len(ids):
                (run.folder / folder / ids[number]).rename(run.folder / folder / hostile)
                ids[number] = hostile
    for ids in (run.train_ids, run.query_ids):
        ids.sort(key=lambda name: name.lower())
    run.scores[:, : len(HOSTILE)] = 9
    run.write_scores()
    run.report()
    dom = shown(run.config.out / "index.html", tmp_path / "profile")
    assert "onerror" in dom
    assert "<title>owned" not in dom
    assert '<img src="x"' not in dom
    assert "<svg onload" not in dom


@pytest.mark.parametrize("hostile", HOSTILE[:2])
def test_the_browser_runs_them_in_a_page_that_lets_them(tmp_path: Path, hostile: str) -> None:
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><title>page</title><p title='{hostile}'>{hostile}</p>")
    assert "<title>owned" in shown(page, tmp_path / "profile")
