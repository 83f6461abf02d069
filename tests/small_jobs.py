"""Jobs small enough for tests: a few 8x8 images, few options, and the tools as processes."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from PIL import Image

from dtrak_stream.cli.main import main
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.featurizing.options import ExecutionOptions, FeaturizeConfig
from dtrak_stream.store.fingerprint import Fingerprint
from dtrak_stream.store.layout import read_layout
from dtrak_stream.support.provenance import flat_options
from tests.crashing import contents, start_beside

TOOLS = Path(__file__).parents[1] / "tools"

ALIKE = ExecutionOptions(engine="timestep-batched", batch_size=2)
"""Rounding depends on how features are computed, which is measured unless it is said. This way
is the quicker one for a few tiny images."""
HOOKED = ExecutionOptions(engine="hooked", batch_size=2)


def small_features(**changes: Any) -> FeatureOptions:
    options = {"timesteps": "list:0,500", "proj_dim": 64, "rows_per_shard": 3, "device": "cpu"}
    return FeatureOptions(**{**options, **changes})


def small_job(
    model: str,
    images: object,
    store: Path,
    *,
    limit: int | None = None,
    redo_corrupt: bool = False,
    execution: ExecutionOptions = ALIKE,
    **features: Any,
) -> FeaturizeConfig:
    return FeaturizeConfig(
        images=str(images),
        store=store,
        model=model,
        limit=limit,
        redo_corrupt=redo_corrupt,
        features=small_features(**features),
        execution=execution,
        quiet=True,
    )


def random_pixels(count: int, seed: int = 0) -> np.ndarray:
    """Return (count, 8, 8) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8), dtype=np.uint8)


def save_images(folder: Path, pixels: np.ndarray, names: Sequence[str] = ()) -> Path:
    """Write pixels (N, 8, 8) uint8 as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(pixels):
        name = names[index] if names else f"{index:03d}.png"
        Image.fromarray(image).save(folder / name)
    return folder


def spoil(image: Path) -> None:
    """Cut an image file in half."""
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])


def fingerprint_of(store: Path) -> Fingerprint:
    return read_layout(store).fingerprint


def stored(store: Path) -> dict[str, bytes]:
    """Return the files of a store, without what may differ: where it lies, how long it took."""
    files = contents(store)
    del files["config.yaml"]
    files.pop("checked.json", None)  # imports have none
    plan = json.loads(files["store.json"])
    plan.pop("run", None)
    return {**files, "store.json": json.dumps(plan, sort_keys=True).encode()}


def written_at(folder: Path) -> dict[str, tuple[int, int]]:
    """Return inode and time of writing of every file: what changes if one is written again."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def flags(config: Any) -> list[str]:
    """Return the command line that means `config`."""
    words = []
    for name, value in flat_options(config).items():
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        else:
            words += [f"--{name}", str(value)]
    return words


def run_tool(
    name: str, arguments: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    """Run `tools/NAME.py` in this process; return its exit code, standard output and error."""
    capsys.readouterr()
    before, handler = sys.argv, signal.getsignal(signal.SIGTERM)
    sys.argv = [f"tools/{name}.py", *arguments]
    try:
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(TOOLS / f"{name}.py"), run_name="__main__")
    finally:
        sys.argv = before
        signal.signal(signal.SIGTERM, handler)
    printed = capsys.readouterr()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code, printed.out, printed.err


def start_tool(name: str, arguments: Sequence[str]) -> subprocess.Popen[str]:
    """Start `python tools/NAME.py` as a user would, on one thread as the tests themselves."""
    return subprocess.Popen(
        [sys.executable, str(TOOLS / f"{name}.py"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # a shell that starts the tests in the background has Ctrl-C ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


class Beside:
    """A command in a forked child of this process, where all it needs is imported already."""

    def __init__(self, name: str, arguments: Sequence[str], folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._told = tuple(folder / f"{name}.{stream}" for stream in ("stdout", "stderr"))
        for path in self._told:
            path.touch()
        self.pid = start_beside(lambda: self._run([name, *arguments]))
        self.returncode: int | None = None

    def _run(self, words: Sequence[str]) -> NoReturn:
        sys.stdout, sys.stderr = (path.open("w", buffering=1) for path in self._told)
        code: Any = 1
        try:
            main(words)
        except SystemExit as stop:
            code = stop.code
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def poll(self) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def errors(self) -> str:
        """Return what it has said on standard error so far."""
        return self._told[1].read_text()

    def communicate(self, timeout: float) -> tuple[str, str]:
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            assert time.monotonic() < deadline, "the process does not end"
            time.sleep(0.01)
        out, errors = (path.read_text() for path in self._told)
        return out, errors


def signalled(
    process: subprocess.Popen[str] | Beside,
    number: signal.Signals,
    when: Callable[[], bool],
    delay: float,
) -> tuple[int, str, str]:
    """Send a signal `delay` seconds after `when` holds; return exit code, output and errors."""
    deadline = time.monotonic() + 300
    while not when():
        assert process.poll() is None, process.communicate(timeout=60)[1]
        assert time.monotonic() < deadline, "the process never got that far"
        time.sleep(0.002)
    time.sleep(delay)
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert process.returncode is not None
    return process.returncode, out, errors
