"""The lowest versions that are installed to be tried are those that pyproject.toml names."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = {each.name: each for each in map(Requirement, PROJECT["dependencies"])}


def listed(root: Path) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(root / "tools" / "lowest.sh"), "--list"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def with_dependency(requirement: str, folder: Path) -> Path:
    """A folder with the scripts, and a project that has this one dependency."""
    (folder / "tools").mkdir()
    for name in ("lowest.sh", "environment.sh"):
        (folder / "tools" / name).write_text((ROOT / "tools" / name).read_text())
    (folder / "pyproject.toml").write_text(f'[project]\ndependencies = ["{requirement}"]\n')
    return folder


def test_the_bound_of_every_dependency_is_tried():
    pins = dict(line.split("==") for line in listed(ROOT).stdout.splitlines())
    assert set(pins) == set(REQUIREMENTS) - {"torch"}
    for name, version in pins.items():
        assert str(REQUIREMENTS[name].specifier) == f">={version}"


def test_the_torch_that_is_installed_is_the_lowest():
    text = (ROOT / "tools" / "environment.sh").read_text()
    (version,) = re.findall(r"torch==([\d.]+)", text)
    (bound,) = REQUIREMENTS["torch"].specifier
    assert (bound.operator, Version(bound.version)) == (">=", Version(version))


@pytest.mark.parametrize("requirement", ["numpy", "numpy>2", "numpy>=2,<3", "numpy==2.0"])
def test_a_dependency_without_a_lowest_version_is_refused(requirement, tmp_path):
    result = listed(with_dependency(requirement, tmp_path))
    assert result.returncode != 0
    assert repr(requirement) in result.stderr
