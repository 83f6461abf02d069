"""The ledger of samples that could not be used, with the reason."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from dtrak_stream.support.durable import append_bytes, write_bytes


@dataclass(frozen=True)
class QuarantinedSample:
    """A sample that has no feature.

    Attributes
    ----------
    row
        Its row in the store.
    sample_id
        Its id in the image source.
    reason
        Why it could not be used.
    """

    row: int
    sample_id: str
    reason: str


def append_quarantine(path: Path, samples: list[QuarantinedSample]) -> None:
    """Add samples to the ledger, on disk before this returns."""
    if samples:
        append_bytes(path, _lines(samples))


def read_quarantine(path: Path) -> list[QuarantinedSample]:
    """Return the ledger's entries; a last line torn by a crash is left out."""
    if not path.exists():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return [QuarantinedSample(**json.loads(line)) for line in whole.splitlines()]


def keep_quarantine(path: Path, samples: list[QuarantinedSample]) -> None:
    """Make the ledger hold `samples` and nothing else, such as a line torn by a crash."""
    wanted = _lines(samples)
    if wanted != (path.read_bytes() if path.exists() else b""):
        write_bytes(path, wanted)


def _lines(samples: list[QuarantinedSample]) -> bytes:
    return b"".join(json.dumps(asdict(sample)).encode() + b"\n" for sample in samples)
