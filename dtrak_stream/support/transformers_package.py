"""The package transformers, which only those need who use text or image encoders."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dtrak_stream.errors import ConfigurationError


def transformers_package(*, where: str, remedy: str) -> Any:
    """Return the package.

    Raises
    ------
    ConfigurationError
        With `where` and `remedy`, if it is not installed.
    """
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise ConfigurationError(
            "needs the package transformers", where=where, remedy=remedy
        ) from error


@contextmanager
def silenced(transformers: Any) -> Iterator[None]:
    """Keep progress bars and advice of transformers off the screen."""
    logging = transformers.utils.logging
    verbosity, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            logging.enable_progress_bar()
