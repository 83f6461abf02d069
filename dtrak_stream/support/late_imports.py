"""Things of this package named by where they are, and imported when they are first needed."""

from __future__ import annotations

import importlib
from typing import Any


def imported(place: str) -> Any:
    """Import what lies at `module:name`, below this package, and return it."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"dtrak_stream.{module}"), name)
