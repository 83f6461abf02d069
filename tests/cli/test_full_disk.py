"""No command dies of a full disk, or leaves half a file: for every file that is written."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import warnings
from pathlib import Path
from typing import NamedTuple

import pytest

from dtrak_stream.cli.main import main
from tests.cli.conftest import IMAGES, IMPORT, SIDES
from tests.crashing import contents, start_beside

TINY_TRAINING = (
    "--block-out-channels 8 --layers-per-block 1 --attention-levels --norm-num-groups 4 "
    "--steps 1 --batch-size 8 --device cpu"
)
COMMANDS = {
    "store": "featurize --images sklearn:digits[:8] --proj-dim 64 --quiet --store new",
    "import": f"{IMPORT} --store new",
    "gram": "gram --store {run}/train --quiet --out new.h5",
    "scores": f"score {SIDES} --gram {{run}}/gram.h5 --method d-trak --quiet --out new.h5",
    "fitted scores": "score --method empirical-influence --truth {truth} --quiet --out new.h5",
    "report": f"report {IMAGES} --scores {{run}}/scores.h5 --quiet --out new",
    "npy": "export --store {run}/train --quiet --out new.npy",
    "safetensors": "export --store {run}/train --quiet --out new.safetensors",
    "fvecs": "export --store {run}/train --quiet --out new.fvecs",
    "scores as npy": "export --scores {run}/scores.h5 --quiet --out new.npy",
    "csv": "export --scores {run}/scores.h5 --quiet --out new.csv",
    "lds": "lds --scores {run}/scores.h5 --truth {truth} --quiet --json new.json --csv new.csv",
    "images": "generate --count 2 --steps 2 --quiet --float-images --save-trajectory --out new",
    "model": f"train --images sklearn:digits[:8] {TINY_TRAINING} --quiet --out new",
}


class Ended(NamedTuple):
    """How a command ended that ran in a child of its own."""

    code: int
    """Its exit code; negative for a signal."""
    errors: str
    """What it said."""


def run_in_child(words: list[str], folder: Path, most: int | None) -> Ended:
    """Run a command where no file may grow beyond `most` bytes, as on a disk that is full."""
    read, write = os.pipe()

    def work() -> None:
        os.chdir(folder)
        told, code = io.StringIO(), 0
        if most is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        try:
            with (
                warnings.catch_warnings(),
                contextlib.redirect_stderr(told),
                contextlib.redirect_stdout(told),
            ):
                warnings.simplefilter("ignore")  # joblib tries what it can do by writing files
                main(words)
        except SystemExit as stop:
            code = int(str(stop.code or 0))
        except BaseException as error:
            code, _ = 1, told.write(repr(error))
        os.write(write, json.dumps([code, told.getvalue()[-2000:]]).encode())

    child = start_beside(work)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) or not told:
        return Ended(-os.WTERMSIG(status), "")
    return Ended(*json.loads(told))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_that_is_full_ends_a_command_with_one_line_and_nothing_half(name, inputs, tmp_path):
    words = COMMANDS[name].format(**inputs).split()
    whole, full = tmp_path / "whole", tmp_path / "full"
    whole.mkdir()
    assert run_in_child(words, whole, None).code == 0
    sizes = sorted({len(content) for content in contents(whole).values()})
    for most in sorted({0, sizes[-1] // 2, *(size - 1 for size in sizes[-2:])}):
        full.mkdir(exist_ok=True)
        ended = run_in_child(words, full, max(0, most))
        assert ended.code == 2, (most, ended)
        assert "no room left to write this file" in ended.errors
        assert not list(full.rglob("*.partial"))
        assert max((len(content) for content in contents(full).values()), default=0) <= most
    assert run_in_child(words, full, None).code == 0
    assert contents(full).keys() == contents(whole).keys()
