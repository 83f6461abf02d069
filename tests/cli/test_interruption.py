"""Ctrl-C or SIGTERM while a command is still being imported ends it as it does later on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dtrak_stream.cli.interruption import EXIT_INTERRUPTED

SCRIPT = """
import sys
from dtrak_stream.cli.main import main, run_tool

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            exec({how!r})  # as in the text that a dataclass is made of

sys.meta_path.insert(0, Interrupts())
sys.argv = ["attribute.py", "--help"]
{call}
"""
MODULES = ("dtrak_stream.cli.dispatch", "tyro", "dtrak_stream.attribution.configuration")


CTRL_C = "raise KeyboardInterrupt"
SIGTERM = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
MAIN = "main(['attribute', '--help'])"


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("call", [MAIN, "run_tool('attribute')"])
@pytest.mark.parametrize("as_module", [True, False])
def test_ctrl_c_during_any_import_is_told_in_one_line(
    tmp_path: Path, module: str, call: str, as_module: bool
) -> None:
    told_in_one_line(tmp_path, SCRIPT.format(module=module, call=call, how=CTRL_C), as_module)


@pytest.mark.parametrize("call", [MAIN, "run_tool('attribute')"])
def test_sigterm_during_an_import_is_told_as_ctrl_c_is(tmp_path: Path, call: str) -> None:
    told_in_one_line(tmp_path, SCRIPT.format(module=MODULES[0], call=call, how=SIGTERM), True)


def told_in_one_line(tmp_path: Path, script: str, as_module: bool) -> None:
    (tmp_path / "command.py").write_text(script)
    named = ["-m", "command"] if as_module else [str(tmp_path / "command.py")]
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    ran = subprocess.run(
        [sys.executable, *named],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert (ran.returncode, ran.stdout) == (EXIT_INTERRUPTED, "")
    assert ran.stderr.startswith("interrupted: ")
    assert ran.stderr.count("\n") == 1
