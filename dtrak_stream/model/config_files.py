"""Reading the JSON files that describe a saved pipeline and its parts.

A leaf of its own because the index, the network and the scheduler are read by different rows of
`families`, and refused alike.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dtrak_stream.data.source import unreadable
from dtrak_stream.errors import InputError

_ANY_TRANSFORMER = "Transformer2DModel"
_TRANSFORMERS = {
    "ada_norm_zero": "DiTTransformer2DModel",
    "ada_norm_single": "PixArtTransformer2DModel",
}


def read_config(path: Path, *, what: str) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Parameters
    ----------
    path
        The file.
    what
        What it should be, for refusals.

    Raises
    ------
    InputError
        If it is not there, cannot be read, is not JSON, or holds anything but an object.
    UnavailableError
        If it may be whole, and cannot be had now.
    """
    if not path.is_file():
        raise InputError(
            f"is not there: a {what} is wanted",
            where=path,
            remedy="check that the folder is complete, or save the pipeline again",
        )
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise InputError(
            f"not readable as JSON ({error})", where=path, remedy="save the pipeline again"
        ) from error
    if not isinstance(found, dict):
        raise InputError(f"is no {what}", where=path, remedy="save the pipeline again")
    return found


def saved_class(config: dict[str, Any]) -> str | None:
    """Return the name of the class that a configuration is of, if it says so.

    Transformers that were saved before diffusers had a class for each kind are told by their
    normalisation.
    """
    name = config.get("_class_name")
    if name == _ANY_TRANSFORMER:
        name = _TRANSFORMERS.get(str(config.get("norm_type")), name)
    return name if isinstance(name, str) else None
