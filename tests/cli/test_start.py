"""What starting a command costs: large libraries are loaded by who needs them, and not for help."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from dtrak_stream.cli.commands import BENCHMARKS, COMMANDS

LARGE = (
    *("torch", "diffusers", "transformers", "dask", "distributed", "matplotlib", "scipy"),
    *("sklearn", "datasets", "pandas", "pyarrow", "h5py"),
)
HELPS = (
    *([], ["bench"]),
    *([name] for name in COMMANDS if name != "bench"),
    *(["bench", name] for name in BENCHMARKS),
)
SCRIPT = f"""
import contextlib, io, json, sys, time
LARGE, HELPS = {LARGE!r}, {HELPS!r}

def large():
    return [name for name in LARGE if name in sys.modules]

def seconds(work):
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun

def package():
    import dtrak_stream

def help_of(*words):
    from dtrak_stream.cli.main import main
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as told:
        main([*words, "--help"])
    assert told.getvalue().startswith("usage: ")

def torch():
    import torch

told = {{"package": seconds(package), "large": {{"": large()}}}}
told["help"] = seconds(lambda: help_of("attribute"))
for words in HELPS:
    help_of(*words)
    told["large"][" ".join([*words, "--help"])] = large()
told["torch"] = seconds(torch)
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def start() -> dict[str, Any]:
    """What a fresh process found: seconds, and the large libraries there after each step."""
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def test_neither_the_package_nor_any_help_loads_a_large_library(start):
    assert len(start["large"]) == 1 + len(HELPS)
    assert {after: found for after, found in start["large"].items() if found} == {}


def test_the_package_and_the_help_of_the_main_job_cost_little_beside_torch(start):
    assert start["package"] < start["torch"] / 4
    assert start["help"] < start["torch"]


def test_the_stages_of_the_main_job_load_what_few_runs_need_only_when_they_do():
    """Models, a scheduler's client, pictures to draw, data sets of others."""
    late = ["diffusers", "distributed", "matplotlib", "scipy.stats", "datasets", "sklearn"]
    code = f"""
import sys
from dtrak_stream.cli.commands import COMMANDS
for name in ("attribute", "featurize", "gram", "score", "verify"):
    COMMANDS[name].stage()
print(*[name for name in {late} if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
