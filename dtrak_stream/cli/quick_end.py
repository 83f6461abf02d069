"""The end of a command's process: what the system takes back as a whole is not taken apart before.

With torch and diffusers loaded, Python spends a second and more on it, in which nothing happens and
Ctrl-C is not heard.
"""

from __future__ import annotations

import atexit
import inspect
import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_OWN = {__name__, "contextlib", "dtrak_stream.cli.main"}


@contextmanager
def quick_end() -> Iterator[None]:
    """Let the process end as soon as all is done that was left for its end.

    To be entered before anything is loaded that leaves something for then: what was left last is
    done first, and this is the last. It counts for a command that is all that the process does,
    and that ends by `SystemExit`; any other process ends as usual.
    """
    codes: list[int] = []
    if _is_all_there_is():
        atexit.register(_end, codes)
    try:
        yield
    except SystemExit as ending:
        if isinstance(ending.code, int):
            codes.append(ending.code)
        raise


def _is_all_there_is() -> bool:
    """Return whether nobody called the command but the file that Python was started with."""
    frame, names = inspect.currentframe(), list[str]()
    while frame is not None:
        names.append(frame.f_globals.get("__name__", ""))
        frame = frame.f_back
    callers = list(itertools.dropwhile(_OWN.__contains__, names))
    return callers[:1] == ["__main__"] and set(callers[1:]) <= {"runpy"}  # that of python -m


def _end(codes: list[int]) -> None:
    if not codes:
        return
    for stream in filter(None, (sys.stdout, sys.stderr)):  # a closed one is None
        stream.flush()
    os._exit(codes[-1])
