"""Where models lie: folders of the user, and the one that comes along."""

from __future__ import annotations

from pathlib import Path

EMBEDDED_MODEL = "embedded:digits_ddpm"
EMBEDDED_FOLDER = Path(__file__).parents[1] / "embedded"


def model_root(folder: str) -> Path:
    """Return the pipeline folder that `folder` names: a path, or the model that comes along."""
    return EMBEDDED_FOLDER / folder.partition(":")[2] if folder == EMBEDDED_MODEL else Path(folder)
