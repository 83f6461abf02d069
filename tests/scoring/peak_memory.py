"""A process that computes Gram matrices and scores, and prints how far its memory rose.

Usage: python -m tests.scoring.peak_memory FOLDER LIMIT STORE..., with stores `query`, `warm-up` and
STORE... in FOLDER. Prints [{"gram": BYTES, "score": BYTES}, ...], one entry for each STORE.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from dtrak_stream.gram.options import GramConfig, GramOptions
from dtrak_stream.gram.run import compute_gram
from dtrak_stream.scoring.options import ScoreConfig, ScoreOptions
from dtrak_stream.scoring.run import score
from dtrak_stream.support import durable

STATUS = Path("/proc/self/status")


def no_sync(path: Path) -> None:
    """Stand in for waiting for the disk, which is not what is measured."""


def main(folder: Path, limit: str, names: list[str]) -> None:
    durable._fsync = no_sync
    print(json.dumps([growth_of_stages(folder, limit, name) for name in names]))


def growth_of_stages(folder: Path, limit: str, name: str) -> dict[str, int]:
    """Return for both stages of a store by how many bytes memory rose at most."""
    return {
        stage: growth(lambda: warm_up(folder, limit), work)
        for stage, work in stages(folder, limit, name).items()
    }


def warm_up(folder: Path, limit: str) -> None:
    """Load all code that computing will need."""
    for result in folder.glob("warm-up-*.h5"):
        result.unlink()
    for work in stages(folder, limit, "warm-up").values():
        work()


def stages(folder: Path, limit: str, name: str) -> dict[str, Callable[[], object]]:
    """Return the calls that compute the Gram matrix of a store, and its scores."""
    store, gram = folder / name, folder / f"{name}-gram.h5"
    score_config = ScoreConfig(
        train=store,
        query=folder / "query",
        gram=gram,
        out=folder / f"{name}-scores.h5",
        options=ScoreOptions(save_scores="yes"),
        memory_limit=limit,
        quiet=True,
    )
    gram_config = GramConfig(store, gram, GramOptions(memory_limit=limit), quiet=True)
    return {"gram": lambda: compute_gram(gram_config), "score": lambda: score(score_config)}


def growth(prepare: Callable[[], object], work: Callable[[], object]) -> int:
    """Do both in a child of this process; return how many bytes `work` added at its peak.

    A child begins without memory that earlier work has freed but that was kept for reuse.
    """
    result, answer = os.pipe()
    if os.fork() == 0:
        try:
            prepare()
            before = in_status("VmRSS")
            work()
            os.write(answer, str(in_status("VmHWM") - before).encode())
        finally:
            os._exit(0)
    os.close(answer)
    os.wait()
    return int(os.read(result, 100))


def in_status(name: str) -> int:
    """Return a size that Linux tells about this process, in bytes."""
    # not getrusage: its maximum begins with the memory of whoever started this process
    return 1024 * int(STATUS.read_text().partition(f"{name}:")[2].split()[0])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
