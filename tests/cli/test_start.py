"""What starting a tool costs."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("tool", ["gram", "score", "report", "featurize"])
def test_only_who_loads_a_model_imports_diffusers(tool):
    code = (
        f"import runpy, sys; runpy.run_path('tools/{tool}.py'); "
        "sys.exit('diffusers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
