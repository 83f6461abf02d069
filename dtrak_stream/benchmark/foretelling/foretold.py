"""What a plan foretells, in a process of its own: `python -m ...foretold JSON`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from dtrak_stream.benchmark.own_process import answer_of
from dtrak_stream.planning.options import PlanConfig
from dtrak_stream.planning.run import plan
from dtrak_stream.support.configuration import parse


@dataclass(frozen=True)
class Foretold:
    """What featurizing the training images is said to take, without starting the process.

    Attributes
    ----------
    seconds, cpu_seconds
        By the clock, and of the processor.
    memory_bytes
        Peak of the whole process.
    process_bytes
        How much of it is the process itself, its interpreter and packages.
    how
        Engine and batch.
    """

    seconds: float
    cpu_seconds: float
    memory_bytes: int
    process_bytes: int
    how: str


def foretold_of(options_file: Path) -> Foretold:
    """Plan in a process of its own.

    Raises
    ------
    MeasuringFailedError
        With the end of what it printed.
    """
    remedy = "see what dtrak-stream plan says with these options"
    told = answer_of(__name__, str(options_file), where="a plan", remedy=remedy)
    return Foretold(**told)


def foretell(config: PlanConfig) -> Foretold:
    """Plan a run and tell of its first stage, the features of the training images."""
    result = plan(config)
    stage = result.stages[0]
    assert stage.seconds is not None
    assert stage.cpu_seconds is not None
    return Foretold(
        result.begin + stage.seconds,
        result.cpu_begin + stage.cpu_seconds,
        result.process_bytes + stage.memory,
        result.process_bytes,
        stage.note,
    )


if __name__ == "__main__":
    asked = parse(PlanConfig, ["--config", json.loads(sys.argv[1])], program="plan")
    print(json.dumps(asdict(foretell(asked))))
