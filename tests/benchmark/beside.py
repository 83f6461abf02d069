"""What benchmarks measure in processes of their own, in forked children that import nothing."""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.crashing import start_beside


def answer_beside(
    module: str,
    told: object,
    *,
    where: str,
    remedy: str,
    environment: Mapping[str, str] | None = None,
) -> Any:
    """Return what `answer_of` does, without the start of an interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer"

        def work() -> None:
            os.environ.update(environment or {})
            sys.argv = [module, json.dumps(told)]
            with answer.open("w") as out, contextlib.redirect_stdout(out):
                warnings.simplefilter("ignore")  # the module is imported here as well
                runpy.run_module(module, run_name="__main__")

        _, status = os.waitpid(start_beside(work), 0)
        assert status == 0, where
        return json.loads(answer.read_text().splitlines()[-1])
