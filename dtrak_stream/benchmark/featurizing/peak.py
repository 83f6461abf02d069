"""The peak memory of one way, in a process of its own: `python -m ...peak JSON` prints bytes."""

from __future__ import annotations

import json
import sys

import torch

from dtrak_stream.benchmark.featurizing.options import ModelName
from dtrak_stream.benchmark.featurizing.subject import make_subject
from dtrak_stream.benchmark.featurizing.ways import make_way
from dtrak_stream.benchmark.own_process import answer_of
from dtrak_stream.support.memory import peak_memory


def peak_of(
    way: str,
    size: int,
    *,
    model: ModelName,
    timesteps: int,
    pairs: int | None,
    proj_dim: int,
    device: str,
) -> int:
    """Return the most bytes that a process needs for one way; of a GPU's memory on a GPU.

    Raises
    ------
    MeasuringFailedError
        With the end of what the process printed.
    """
    arguments = [way, size, model, timesteps, pairs, proj_dim, device]
    return int(
        answer_of(
            __name__,
            arguments,
            where=f"memory of {way} on {model}",
            remedy="free memory, or leave it out with --no-memory",
        )
    )


def main(
    way: str,
    size: int,
    model: ModelName,
    timesteps: int,
    pairs: int | None,
    proj_dim: int,
    device: str,
) -> None:
    """Run one way and print the peak."""
    where = torch.device(device)
    subject = make_subject(model, timesteps=timesteps, pairs=pairs, device=where)
    make_way(way, subject, proj_dim).run(size)
    on_gpu = where.type == "cuda"
    print(torch.cuda.max_memory_allocated(where) if on_gpu else peak_memory())


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
