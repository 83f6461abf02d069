"""What starting a tool costs."""

from __future__ import annotations

import subprocess
import sys

_START_ALL = """
import runpy, sys
for tool in ("gram", "score", "report", "featurize"):
    runpy.run_path(f"tools/{tool}.py")
    if "diffusers" in sys.modules:
        sys.exit(tool)
"""


def test_only_who_loads_a_model_imports_diffusers():
    started = subprocess.run(
        [sys.executable, "-c", _START_ALL], capture_output=True, text=True, check=False
    )
    assert (started.returncode, started.stderr) == (0, "")
