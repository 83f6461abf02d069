"""Ctrl-C that waits until what was begun is whole."""

from __future__ import annotations

import signal
import threading
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any

from dtrak_stream.support.progress import say
from dtrak_stream.support.stopping import stop_wanted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class DeferredInterrupt(AbstractContextManager["DeferredInterrupt"]):
    """Context in which Ctrl-C (or SIGTERM) is noted; a second one interrupts at once.

    Outside the main thread Python delivers no signals: there, the command that the training
    belongs to may want it to stop.
    """

    def __init__(self) -> None:
        self._noted = False
        self._handlers: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """Return whether what was begun is to be made whole, and no more."""
        return self._noted or stop_wanted()

    def __enter__(self) -> DeferredInterrupt:
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.getsignal(number) for number in _SIGNALS}
            for number in _SIGNALS:
                signal.signal(number, self._note)
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, _signal: int, _frame: FrameType | None) -> None:
        if self._noted:
            raise KeyboardInterrupt
        self._noted = True
        say("interrupted: saving a checkpoint after this step (again to stop at once)")
