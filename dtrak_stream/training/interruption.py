"""Ctrl-C that waits until what was begun is whole."""

from __future__ import annotations

import signal
import threading
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any

from dtrak_stream.support.progress import say

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class DeferredInterrupt(AbstractContextManager["DeferredInterrupt"]):
    """Context in which Ctrl-C (or SIGTERM) sets `requested`; a second one interrupts at once.

    Outside the main thread Python delivers no signals, and nothing is changed.
    """

    def __init__(self) -> None:
        self.requested = False
        self._handlers: dict[signal.Signals, Any] = {}

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
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        say("interrupted: saving a checkpoint after this step (again to stop at once)")
