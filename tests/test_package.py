"""The package as it is handed out: what is in it, and that it works where nothing else is."""

from __future__ import annotations

import email
import os
import re
import runpy
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from dtrak_stream import ScoresFile

ROOT = Path(__file__).resolve().parent.parent
SOURCES = (
    *("CHANGELOG.md", "CITATION.cff", "LICENSE", "MANIFEST.in", "README.md"),
    *("pyproject.toml", "setup.py"),
)
README = (ROOT / "README.md").read_text()
LINKED_FILES = re.findall(r"\]\(([^)#:]+)\)", README)
PICTURE = ".readme/report.png"
FOLDERS = (".readme", "dtrak_stream", "tests", "tools")


def ran(*command: object, cwd: Path) -> str:
    """Run a command where neither the repository nor its folder is on the path."""
    variables = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**variables, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(kind: str, tree: Path, out: Path) -> Path:
    """Build as `pip` and `build` do, by the setuptools that is installed; warnings are errors."""
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(out)!r})"
    ran(sys.executable, "-W", "error", "-c", code, cwd=tree)
    (built,) = out.iterdir()
    return built


def files_in(folder: Path, *, below: str = ".") -> set[str]:
    paths = (path for path in (folder / below).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix() for path in paths if path.suffix != ".pyc"}


def contents_of(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Copy the repository, for what a build leaves, and add what running leaves in a package."""
    copy = tmp_path_factory.mktemp("package") / "repository"
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in SOURCES:
        shutil.copy(ROOT / name, copy)
    (copy / "dtrak_stream/__pycache__").mkdir()
    (copy / "dtrak_stream/__pycache__/errors.cpython-311.pyc").write_bytes(b"")
    return copy


@pytest.fixture(scope="module")
def repository_files(tree):
    """Return what is in the repository before anything is built from it."""
    return files_in(tree)


@pytest.fixture(scope="module")
def unpacked(tree, repository_files, tmp_path_factory):
    """Build the source distribution and return the folder it unpacks to."""
    out = tmp_path_factory.mktemp("source")
    ran("tar", "-xzf", build("sdist", tree, out), cwd=out)
    (folder,) = (path for path in out.iterdir() if path.is_dir())
    return folder


@pytest.fixture(scope="module")
def source_files(unpacked):
    """Return what is in the source distribution before anything is built from it."""
    return files_in(unpacked)


@pytest.fixture(scope="module")
def wheel(unpacked, source_files, tmp_path_factory):
    """Build the wheel from the source distribution."""
    return build("wheel", unpacked, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def metadata(wheel):
    (name,) = (name for name in contents_of(wheel) if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(contents_of(wheel)[name])


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Install the wheel in an environment of its own, which has the dependencies of this one."""
    folder = tmp_path_factory.mktemp("environment")
    ran(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin/python")
    options = ("--quiet", "--no-deps", "--no-index", "--disable-pip-version-check")
    ran(*pip, "install", *options, wheel, cwd=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    # .pth files of these folders are not read: what is installed editable here is not there
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    return folder / "bin"


def test_the_source_distribution_is_the_repository(repository_files, source_files):
    made = {"PKG-INFO", "setup.cfg"}
    written = {name for name in source_files - made if ".egg-info/" not in name}
    assert written == repository_files


def test_the_wheel_is_the_package_its_license_and_nothing_else(tree, wheel):
    names = set(contents_of(wheel))
    described = {name for name in names if ".dist-info/" in name}
    assert names - described == files_in(tree, below="dtrak_stream")
    inside = {name.partition("/")[2] for name in described}
    known = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt"}
    assert inside == known | {"licenses/LICENSE"}


@pytest.mark.parametrize(
    "name",
    [
        "py.typed",
        "report/page.html.j2",
        "embedded/digits.npz",
        "embedded/digits_ddpm/unet/diffusion_pytorch_model.safetensors",
        "embedded/digits_truth.npz",
        "embedded/garments_sd/unet/diffusion_pytorch_model.safetensors",
        "embedded/digits_lora/training.yaml",
        "embedded/digits_lora_generated/metadata.jsonl",
        "embedded/digits_lora_truth.npz",
        "benchmark/results/lds.md",
    ],
)
def test_the_wheel_has_what_is_no_code(wheel, name):
    assert contents_of(wheel)[f"dtrak_stream/{name}"] == (ROOT / "dtrak_stream" / name).read_bytes()


def test_a_wheel_of_the_repository_is_that_of_the_source_distribution(tree, wheel, tmp_path):
    assert contents_of(build("wheel", tree, tmp_path)) == contents_of(wheel)


def test_every_link_of_the_page_an_index_shows_leads_somewhere(metadata):
    page = metadata.get_payload()
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert {target.partition(":")[0] for target in re.findall(r"\]\(([^)]+)\)", page)} == {"https"}


def test_files_the_page_names_are_where_it_says(metadata, source_files, wheel):
    page = metadata.get_payload()
    named = set(re.findall(r"\(`([\w./]+\.(?:md|cff))`\)", page))
    assert named == set(LINKED_FILES) - {PICTURE}
    assert named <= source_files
    assert {name for name in named if name.startswith("dtrak_stream/")} <= set(contents_of(wheel))


def test_links_and_pictures_lead_to_the_repository_where_it_has_an_address():
    page = runpy.run_path(str(ROOT / "setup.py"), run_name="setup")["page"]
    shown = page(README, "# Changelog\n", "https://code.example/project")
    assert re.findall(r"!\[[^\]]*\]\(([^)]+)\)", shown) == [
        f"https://code.example/project/raw/HEAD/{PICTURE}"
    ]
    for name in set(LINKED_FILES) - {PICTURE}:
        assert f"](https://code.example/project/blob/HEAD/{name})" in shown
    assert shown.endswith("\n## Changelog\n")


def test_changelog_and_citation_are_of_this_version(metadata):
    versions = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == metadata["Version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == metadata["Version"]
    assert f"### [{versions[0]}]" in metadata.get_payload()


def test_the_installed_command_tells_the_version_of_the_metadata(installed, metadata, tmp_path):
    told = ran(installed / "dtrak-stream", "--version", cwd=tmp_path)
    assert told == f"dtrak-stream {metadata['Version']}\n"


def test_the_main_job_runs_from_the_wheel(installed, tmp_path):
    find = "import importlib.util as u; print(u.find_spec('dtrak_stream').origin)"
    assert ran(installed / "python", "-c", find, cwd=tmp_path).startswith(str(installed.parent))
    job = "attribute --train sklearn:digits[:6] --query sklearn:digits[9:11] --run run --quiet"
    small = "--timesteps list:0,500 --proj-dim 64 --engine timestep-batched --batch-size 2"
    ran(installed / "dtrak-stream", *job.split(), *small.split(), cwd=tmp_path)
    with ScoresFile(tmp_path / "run/scores.h5") as scores:
        assert len(scores.top(query=1, count=3)) == 3
    assert "</html>" in (tmp_path / "run/report/index.html").read_text()
