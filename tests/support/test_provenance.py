"""What a run records about itself, and that `--config` reads it back."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import pytest
import torch
import yaml

from dtrak_stream.errors import FingerprintMismatchError
from dtrak_stream.gram.options import GramConfig, GramOptions
from dtrak_stream.scoring.options import ScoreConfig, ScoreOptions
from dtrak_stream.support import provenance as module
from dtrak_stream.support.cluster_options import ClusterOptions
from dtrak_stream.support.configuration import parse
from dtrak_stream.support.provenance import (
    flat_options,
    git_revision,
    provenance,
    record_first,
    record_run,
)


@dataclass(frozen=True)
class Group:
    long_name: str = "value"
    unset: int | None = None
    values: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Config:
    folder: Path
    group: Group = field(default_factory=Group)
    kind: Literal["a", "b"] = "a"
    quiet: bool = False
    share: float = 0.5


def test_options_are_flat_and_plain_with_unset_ones_left_out():
    assert flat_options(Config(Path("some/folder"))) == {
        "folder": "some/folder",
        "long-name": "value",
        "values": [1, 2],
        "kind": "a",
        "quiet": False,
        "share": 0.5,
    }


def test_options_stand_in_the_order_of_the_command_line():
    assert list(flat_options(Config(Path()))) == [
        "folder", "long-name", "values", "kind", "quiet", "share",
    ]  # fmt: skip


def test_a_record_is_yaml_of_the_options_and_of_where_they_ran(tmp_path):
    record_run(tmp_path / "new" / "config.yaml", Config(Path("x")))
    record = yaml.safe_load((tmp_path / "new" / "config.yaml").read_text())
    assert record.pop("provenance") == provenance()
    assert record == flat_options(Config(Path("x")))


def test_a_record_replaces_an_older_one_whole(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("provenance: {}\nold: " + "x" * 10_000)
    record_run(path, Config(Path("x")))
    assert "old" not in yaml.safe_load(path.read_text())
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize(
    "config",
    [
        GramConfig(
            Path("s"),
            Path("g.h5"),
            GramOptions("1GiB", "dual"),
            ClusterOptions(scheduler="tcp://h:1"),
            quiet=True,
        ),
        GramConfig(Path("s"), Path("g.h5")),
        ScoreConfig(
            Path("a"),
            Path("b"),
            Path("g"),
            Path("o"),
            ScoreOptions("trak", "abs:5", "square", 7, "no"),
            "2GB",
        ),
    ],
)
def test_a_recorded_run_is_read_back_as_it_was(tmp_path, config):
    record_run(tmp_path / "config.yaml", config)
    assert parse(type(config), ["--config", str(tmp_path / "config.yaml")]) == config


def test_versions_are_those_of_the_running_code():
    packages = provenance()["packages"]
    for name, running in (("torch", torch), ("numpy", np), ("h5py", h5py)):
        assert packages[name].partition("+")[0] == running.__version__.partition("+")[0]
    assert set(provenance()) == {"python", "git-revision", "packages"}


def test_a_package_that_is_not_there_has_no_version(monkeypatch):
    monkeypatch.setattr(module, "_PACKAGES", ("numpy", "no-such-package"))
    assert provenance()["packages"] == {"numpy": np.__version__, "no-such-package": None}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder from which this code seems to be run."""
    monkeypatch.setattr(module, "__file__", str(tmp_path / "provenance.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "provenance.py").write_text("# first\n")
    return tmp_path


def git(folder, *arguments):
    names = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false"]
    command = ["git", *names, *arguments]
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return answer.stdout.strip()


@pytest.fixture
def commit(checkout):
    """The only commit of that folder."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    git(checkout, "init", "-q")
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "first")
    return git(checkout, "rev-parse", "HEAD")


def test_code_installed_inside_somebody_elses_repository_has_no_revision(
    checkout, commit, monkeypatch
):
    installed = checkout / ".venv" / "provenance.py"
    installed.parent.mkdir()
    installed.write_text("# installed\n")
    monkeypatch.setattr(module, "__file__", str(installed))
    assert git(installed.parent, "rev-parse", "HEAD") == commit
    assert git_revision() is None


def test_the_revision_is_the_commit(commit):
    assert git_revision() == commit


def test_the_revision_says_if_the_code_was_edited(checkout, commit):
    (checkout / "provenance.py").write_text("# edited\n")
    assert git_revision() == f"{commit}-dirty"


def test_a_tag_does_not_hide_the_commit(checkout, commit):
    git(checkout, "tag", "-a", "v1", "-m", "v1")
    assert git_revision() == commit


def test_there_is_no_revision_outside_git(checkout):
    assert git_revision() is None


def test_there_is_no_revision_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert git_revision() is None


def test_the_first_record_of_a_run_stays_and_another_is_refused(tmp_path):
    path, first = tmp_path / "new" / "config.yaml", Config(Path("x"))
    record_first(path, first)
    told = path.read_bytes()
    record_first(path, dataclasses.replace(first, quiet=True))
    with pytest.raises(FingerprintMismatchError, match=r"share differs: stored 0\.5, requested 0"):
        record_first(path, dataclasses.replace(first, share=0.25))
    assert path.read_bytes() == told
    assert list(path.parent.iterdir()) == [path]


def test_of_records_written_at_once_one_stays(tmp_path):
    path, refused = tmp_path / "config.yaml", list[int]()

    def begin(number: int) -> None:
        try:
            record_first(path, Config(Path("x"), share=number))
        except FingerprintMismatchError:
            refused.append(number)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = yaml.safe_load(path.read_text())["share"]
    assert sorted([*refused, kept]) == list(range(8))
