"""A copy of the package with a row more in one of its tables, used in processes of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import dtrak_stream
from tests.scoring.conftest import Attribution, attributes, read

_HELP = """
from dtrak_stream.support.configuration import parse
from dtrak_stream.scoring.options import ScoreConfig
parse(ScoreConfig, ["--help"])
"""
_SCORE = """
import sys
from dtrak_stream.cli.command_line import run
from dtrak_stream.scoring.options import ScoreConfig
from dtrak_stream.scoring.run import score
run(ScoreConfig, score, sys.argv[1:])
"""


@dataclass(frozen=True)
class ExtendedPackage:
    """Attributes: the folder that is to be imported from."""

    folder: Path

    @classmethod
    def of(cls, folder: Path, changes: Mapping[str, tuple[str, str]]) -> ExtendedPackage:
        """Copy the package, and in some of its files put one text in the place of another."""
        source = Path(dtrak_stream.__file__).parent
        copy = folder / "extended" / "dtrak_stream"
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        for name, (old, new) in changes.items():
            text = (copy / name).read_text()
            assert text.count(old) == 1
            (copy / name).write_text(text.replace(old, new))
        return cls(copy.parent)

    def score_help(self) -> str:
        """The help of `dtrak-stream score`, in one line."""
        return " ".join(self._run(_HELP).replace("│", " ").split())

    def score(self, run: Attribution, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Score on the command line; return all scores (Q, N) and the attributes of the file."""
        out = run.folder / "extended.h5"
        given = {"train": run.train.layout.root, "query": run.query.layout.root, "gram": run.gram}
        words = [f"--{name}={value}" for name, value in {**given, "out": out, **options}.items()]
        self._run(_SCORE, *words)
        return read(out)["scores"], attributes(out)

    def _run(self, script: str, *words: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "COLUMNS": "100"}
        done = subprocess.run(
            [sys.executable, "-c", script, *words],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout
