"""Where the time goes: exclusive seconds of each stage, on the CPU and on a GPU."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

LANES = {
    "decode": ("decode",),
    "compute": ("noise", "forward", "backward", "projection", "copy"),
    "write": ("write",),
}
"""Stages that run one after the other; lanes run side by side."""


class StageTimer:
    """Adds up the time of stages. A stage inside another pauses the outer one.

    Parameters
    ----------
    device
        On a GPU, times are taken by events in its queue, so that measuring makes nobody wait.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._on_gpu = device is not None and device.type == "cuda"
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._marks: list[tuple[str | None, Any]] = []
        self._current: str | None = None
        self._lock = threading.Lock()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of the block as `name`. For one thread at a time."""
        outer = self._current
        self._enter(name)
        try:
            yield
        finally:
            self._enter(outer)

    @contextmanager
    def beside(self, name: str) -> Iterator[None]:
        """Count the time of the block as `name`, in a thread that runs beside the others."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add({name: time.perf_counter() - start})

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add time that was measured elsewhere."""
        with self._lock:
            for name, duration in seconds.items():
                self._seconds[name] += duration

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each stage so far."""
        self._settle()
        with self._lock:
            return dict(self._seconds)

    def _enter(self, name: str | None) -> None:
        self._current = name
        self._marks.append((name, self._now()))
        if name is None:
            self._settle()

    def _settle(self) -> None:
        """Turn marks into durations; the last mark stays if its stage is still running."""
        if self._on_gpu and self._marks:
            torch.cuda.synchronize()
        for (name, start), (_, stop) in zip(self._marks, self._marks[1:], strict=False):
            if name is not None:
                self.add({name: self._between(start, stop)})
        self._marks = [] if self._current is None else self._marks[-1:]

    def _now(self) -> Any:
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def _between(self, start: Any, stop: Any) -> float:
        if self._on_gpu:
            return float(start.elapsed_time(stop)) / 1000
        return float(stop - start)


def bottleneck(seconds: Mapping[str, float]) -> str:
    """Return the stage that took most of the busiest lane; empty if nothing was measured."""
    if not seconds:
        return ""
    lane = max(LANES.values(), key=lambda stages: sum(seconds.get(s, 0.0) for s in stages))
    return max(lane, key=lambda stage: seconds.get(stage, 0.0))


def describe(seconds: Mapping[str, float]) -> str:
    """Return the share of each stage in all measured time, for a reader: `forward 31 %, ...`."""
    total = sum(seconds.values())
    order = [stage for stages in LANES.values() for stage in stages if stage in seconds]
    return ", ".join(f"{stage} {100 * seconds[stage] / total:.0f} %" for stage in order if total)
