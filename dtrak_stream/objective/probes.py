"""Random output probes: fixed vectors of signs that a model's output is multiplied with."""

from __future__ import annotations

import math
import re
from functools import lru_cache

import torch
from torch import Tensor

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.support.random_bits import BITS_PER_WORD, WORDS_PER_BLOCK, StreamKey, random_words

MAX_PROBES = 999
_ALL = re.compile(r"probe\((\d+)\)")
_ONE = re.compile(r"probe\((\d+)/(\d+)\)")


def probe_names(output_function: str) -> tuple[str, ...] | None:
    """Return the probes that an output function stands for, None if it is something else.

    `probe(J)` stands for `probe(0/J)` to `probe(J-1/J)`, and each of those for itself.

    Raises
    ------
    ConfigurationError
        If there are more probes than 999, none, or no such probe among them.
    """
    every, one = _ALL.fullmatch(output_function), _ONE.fullmatch(output_function)
    if every is None and one is None:
        return None
    count = int(every.group(1) if every else one.group(2))  # type: ignore[union-attr]
    first = int(one.group(1)) if one else 0
    if not 1 <= count <= MAX_PROBES or first >= count:
        raise ConfigurationError(
            "no such probe",
            where=f"--output-function {output_function}",
            remedy=f"use probe(J) with J from 1 to {MAX_PROBES}, or one of them, probe(0/J) "
            "to probe(J-1/J)",
        )
    return (output_function,) if one else tuple(f"probe({j}/{count})" for j in range(count))


def probe_index(name: str) -> int | None:
    """Return j of `probe(j/J)`, None for other names."""
    match = _ONE.fullmatch(name)
    return int(match.group(1)) if match else None


@lru_cache(maxsize=64)
def probe_signs(seed: int, probe: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Return the vector of a probe: ±1 as float32, of `shape`, on `device`.

    Its bits are a function of (seed, probe, place) alone: the same for every sample, timestep
    and noise, and on every device.
    """
    elements = math.prod(shape)
    blocks = torch.arange(-(-elements // (WORDS_PER_BLOCK * BITS_PER_WORD)), device=device)
    words = random_words(StreamKey("probe", seed), (blocks, probe, 0, 0))  # (blocks, 4)
    places = torch.arange(BITS_PER_WORD, device=device)
    bits = (words.unsqueeze(-1) >> places) & 1  # (blocks, 4, 32)
    return (1 - 2 * bits).flatten()[:elements].reshape(shape).float()
