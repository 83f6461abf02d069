"""Counter-based random numbers: each bit is a pure integer function of a key and a counter.

The generator is Philox-4x32-10 (Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as
easy as 1, 2, 3"), and SplitMix64 for dense projectors; both are written in torch integer
operations, so that CPU and GPU give the same bits. Nothing depends on batch position, order,
worker or restart.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TypeAlias

import torch
import xxhash
from torch import Tensor

WORD_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_GOLDEN_GAMMA = 0x9E3779B97F4A7C15
_MIXING = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT = 31
WORDS_PER_BLOCK = 4
BITS_PER_WORD = 32


@dataclass(frozen=True)
class StreamKey:
    """Names one stream of random numbers.

    Attributes
    ----------
    domain
        What the numbers are for. Different domains are independent streams.
    seed
        The user's seed.
    """

    domain: str
    seed: int

    def words(self) -> tuple[int, int]:
        """Return the two 32-bit key words of the generator."""
        digest = hashlib.blake2b(f"{self.domain}|{self.seed}".encode(), digest_size=8).digest()
        return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")


Word: TypeAlias = Tensor | int
"""A 32-bit word of a counter, or an int64 tensor of them."""


def random_words(key: StreamKey, counter: tuple[Word, Word, Word, Word]) -> Tensor:
    """Return four uniform 32-bit words for each counter.

    Parameters
    ----------
    key
        The stream.
    counter
        Four 32-bit words. Some may be int64 tensors that broadcast together; the result lives
        on their device.

    Returns
    -------
    Tensor
        (..., 4) int64, each in [0, 2**32).
    """
    return philox(key.words(), counter)


def words_of_name(name: str) -> tuple[int, int]:
    """Return two 32-bit words of a counter that stand for a name: its xxh3-64."""
    digest = xxhash.xxh3_64_intdigest(name.encode())
    return digest & WORD_MASK, digest >> BITS_PER_WORD


def philox(key: tuple[int, int], counter: tuple[Word, Word, Word, Word]) -> Tensor:
    """Philox-4x32-10 on int64 tensors that hold unsigned 32-bit words; see `random_words`."""
    device = next((word.device for word in counter if isinstance(word, Tensor)), None)
    c0, c1, c2, c3 = (_as_tensor(word, device) for word in counter)
    k0, k1 = key
    for _ in range(_ROUNDS):
        # int64 products wrap modulo 2**64, which keeps both 32-bit halves exact; words broadcast
        # only where they meet, so that the first rounds are done once for all that share them
        first, second = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0 = ((second >> 32) & WORD_MASK) ^ c1 ^ k0
        c2 = ((first >> 32) & WORD_MASK) ^ c3 ^ k1
        c1, c3 = second & WORD_MASK, first & WORD_MASK
        k0, k1 = (k0 + _KEY_STEPS[0]) & WORD_MASK, (k1 + _KEY_STEPS[1]) & WORD_MASK
    return torch.stack(torch.broadcast_tensors(c0, c1, c2, c3), dim=-1)  # type: ignore[no-untyped-call]


def _as_tensor(word: Word, device: torch.device | None) -> Tensor:
    if isinstance(word, Tensor):
        return word
    # filled where it is needed: a number copied there would make the host wait
    return torch.full((), word, dtype=torch.int64, device=device)


def mixed_words(key: StreamKey, counters: Tensor) -> Tensor:
    """Return one uniform 64-bit word for each counter: SplitMix64 (Steele, Lea and Flood 2014).

    A third of the work of Philox for each bit, for the one use that needs bits by the billion.

    Parameters
    ----------
    key
        The stream: where in the generator's single sequence of 2**64 words it starts.
    counters
        (...) int64; any value.

    Returns
    -------
    Tensor
        (...) int64, whose bits are those of an unsigned word.
    """
    low, high = key.words()
    words = counters * _as_signed(_GOLDEN_GAMMA)
    words += _as_signed(high << BITS_PER_WORD | low)
    for shift, multiplier in _MIXING:
        words ^= (words >> shift).bitwise_and_((1 << (64 - shift)) - 1)
        words *= _as_signed(multiplier)
    words ^= (words >> _LAST_SHIFT).bitwise_and_((1 << (64 - _LAST_SHIFT)) - 1)
    return words


def _as_signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word


def normals_from_words(words: Tensor) -> Tensor:
    """Turn uniform words into standard normals, one for each word (Box and Muller 1958).

    Computed in float64 and rounded to float32 at the end, so that the last-bit differences of
    `log` and `cos` between devices vanish in the rounding.

    Parameters
    ----------
    words
        (..., 2 m) int64 in [0, 2**32). Words 2 i and 2 i + 1 make normals 2 i and 2 i + 1.

    Returns
    -------
    Tensor
        (..., 2 m) float32.
    """
    pairs = words.reshape(*words.shape[:-1], -1, 2).double()
    radius = torch.sqrt(-2.0 * torch.log((pairs[..., 0] + 0.5) / 2.0**BITS_PER_WORD))
    angle = pairs[..., 1] * (2.0 * math.pi / 2.0**BITS_PER_WORD)
    normals = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=-1)
    return normals.reshape(words.shape).float()
