"""Where the time goes: exclusive seconds of each stage, on the CPU and on a GPU."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch

LANES = {
    "decode": ("decode",),
    "compute": ("encode", "noise", "forward", "backward", "projection", "copy"),
    "write": ("write",),
}
"""Stages that run one after the other; lanes run side by side."""


_KEPT_MARKS = 256


class Clock(Protocol):
    """Marks moments of a device's work, and says afterwards how long it took between them."""

    def mark(self) -> Any:
        """Return a mark of this moment: when the device has done all that it was told so far."""

    def has_passed(self, mark: Any) -> bool:
        """Return whether the device has come to a mark."""

    def wait(self, mark: Any) -> None:
        """Return when the device has come to a mark."""

    def seconds_between(self, start: Any, stop: Any) -> float:
        """Return the time between two marks that the device has passed."""


class HostClock:
    """A clock of work that is done when the call that does it returns."""

    def mark(self) -> float:
        """Return the time."""
        return time.perf_counter()

    def has_passed(self, _mark: float) -> bool:
        """Return that it has."""
        return True

    def wait(self, _mark: float) -> None:
        """Return at once."""

    def seconds_between(self, start: float, stop: float) -> float:
        """Return the difference."""
        return stop - start


class CudaClock:
    """Events in the queue of a GPU, which goes on meanwhile.

    Parameters
    ----------
    device
        The GPU. Its current stream is the one that is timed.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def mark(self) -> torch.cuda.Event:
        """Put an event into the queue."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        # left out, it would be the stream of whichever GPU is the current one
        event.record(torch.cuda.current_stream(self._device))
        return event

    def has_passed(self, mark: torch.cuda.Event) -> bool:
        """Ask the driver, without waiting."""
        return bool(mark.query())  # type: ignore[no-untyped-call]

    def wait(self, mark: torch.cuda.Event) -> None:
        """Wait for one event."""
        mark.synchronize()

    def seconds_between(self, start: torch.cuda.Event, stop: torch.cuda.Event) -> float:
        """Return what the GPU measured."""
        return float(start.elapsed_time(stop)) / 1000


def clock_of(device: torch.device) -> Clock:
    """Return the clock that times what runs on a device."""
    return CudaClock(device) if device.type == "cuda" else HostClock()


class StageTimer:
    """Adds up the time of stages. A stage inside another pauses the outer one.

    Stages are marked while they run and read when asked for, so that measuring makes nobody wait.

    Parameters
    ----------
    clock
        Measures them; that of the host unless said.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock: Clock = clock or HostClock()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._marks: deque[tuple[str | None, Any]] = deque()
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
    def beside(self, name: str, *, threads: int = 1) -> Iterator[None]:
        """Count the time of the block as `name`, in one of `threads` that run beside the others.

        Each counts its share: `threads` of them that are busy for a second count one second.
        """
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add({name: (time.perf_counter() - start) / threads})

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add time that was measured elsewhere."""
        with self._lock:
            for name, duration in seconds.items():
                self._seconds[name] += duration

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each stage so far; waits until the device has passed them."""
        if self._marks:
            self._clock.wait(self._marks[-1][1])
        self._read()
        with self._lock:
            return dict(self._seconds)

    def _enter(self, name: str | None) -> None:
        self._current = name
        self._marks.append((name, self._clock.mark()))
        if len(self._marks) > _KEPT_MARKS:
            self._read()

    def _read(self) -> None:
        """Turn the marks that are passed into seconds; the last of them begins what follows."""
        while len(self._marks) > 1 and self._clock.has_passed(self._marks[1][1]):
            name, start = self._marks.popleft()
            if name is not None:
                self.add({name: self._clock.seconds_between(start, self._marks[0][1])})


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
