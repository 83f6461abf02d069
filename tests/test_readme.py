"""What the README shows works as written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
RESULTS = sorted((ROOT / "dtrak_stream/benchmark/results").glob("*.md"))
GUIDES = [
    ROOT / "dtrak_stream/data/which_images.md",
    ROOT / "dtrak_stream/model/which_models.md",
    ROOT / "dtrak_stream/exchange/d_trak_folders.md",
    ROOT / "dtrak_stream/verification/what_is_checked.md",
]
SHARING = ROOT / "dtrak_stream/support/several_machines.md"
PAGES = ["README.md", "CHANGELOG.md"]
PAGES += [path.relative_to(ROOT).as_posix() for path in (*GUIDES, SHARING, *RESULTS)]


def test_the_python_example_prints_proponents(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert 8 <= len(code.strip().splitlines()) <= 16
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace("[:1000]", "[:40]"), "README.md", "exec"), {})
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 3
    scores = [float(line.split()[1]) for line in lines]
    assert scores == sorted(scores, reverse=True)
    assert (tmp_path / "runs/from-python/report/index.html").is_file()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"tools/\w+\.(?:py|sh)", README))))
def test_every_tool_it_names_exists(path):
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_or_out_of_the_repository(page):
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text()):
        assert target.startswith("https://") or (folder / target).is_file(), target


SHOWN = README + "".join(path.read_text() for path in GUIDES)
# other lines of it are commands of others
SHOWN += "".join(line for line in SHARING.read_text().splitlines() if "dtrak-stream" in line)


@pytest.mark.parametrize("flag", sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", SHOWN))))
def test_every_option_it_names_exists(flag):
    """Options are fields of configuration dataclasses."""
    name = flag.removeprefix("--").removeprefix("no-").replace("-", "_")
    sources = "\n".join(path.read_text() for path in (ROOT / "dtrak_stream").rglob("*.py"))
    general = {"help", "config"}
    assert name in general or re.search(rf"^    {name}: .*\n    \"\"\"", sources, re.MULTILINE)
