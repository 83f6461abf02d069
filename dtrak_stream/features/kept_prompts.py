"""Embeddings of captions on disk, for several featurizations: equal captions are encoded once.

FOLDER/prompts/ENCODER/prompts.json  text encoder, number of slots, and its tensors of one text
FOLDER/prompts/ENCODER/00000.bin     65,536 slots a file, most of them holes: the xxh3-128 of a
                                     text, and the tensors that the encoder makes of it

A text is in the slot that its hash names, or in one of the next few where others were before: a
hash table with twice as many slots as there are images, in rows of `checked_rows`. Text encoders
that differ, as LoRAs on them make it, have a folder each, so all of them may be kept beside the
latents of the same images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from torch import Tensor, nn

from dtrak_stream.data.samples import Samples
from dtrak_stream.features.checked_rows import CheckedRows
from dtrak_stream.features.kept_record import PROMPTS
from dtrak_stream.model.captions import Captions, TextEncoder
from dtrak_stream.model.conditioning import NetworkInputs

_RECORD, _FOLDER = "prompts.json", "prompts"
_KEY_BYTES = 16
_SLOTS_A_FILE = 2**16
_FEWEST_SLOTS = 64
_TRIED = 64  # slots; at most half of them all are taken, so far fewer are in a row
_COUNTED = 4096  # captions that are read at a time

Layout = dict[str, list[Any]]
"""Name of a tensor to its type and its shape."""


@dataclass
class KeptPrompts:
    """A `TextEncoder` that encodes each text once, and reads its embedding afterwards.

    Attributes
    ----------
    encoder
        What encodes the texts whose embeddings are not there.
    root
        Where latents and embeddings are kept.
    samples
        Whose captions are met, at most as many as there are slots for.
    read, encoded
        How many embeddings were read, and how many were not there.
    """

    encoder: TextEncoder
    root: Path
    samples: Samples
    read: int = field(default=0, init=False)
    encoded: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._files: dict[int, CheckedRows] = {}

    @property
    def identity(self) -> str:
        """Return what encodes: embeddings are the same wherever they come from."""
        return self.encoder.identity

    @property
    def description(self) -> str:
        """Return what encodes."""
        return self.encoder.description

    @property
    def weight_bytes(self) -> int:
        """Return how many bytes of memory its weights take."""
        return self.encoder.weight_bytes

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Return the networks that encode."""
        return self.encoder.networks

    @property
    def device(self) -> torch.device:
        """Return where it computes."""
        return self.encoder.device

    @property
    def max_tokens(self) -> int:
        """Return how many tokens of a text it reads."""
        return self.encoder.max_tokens

    def tokens(self, text: str) -> int:
        """Return how many tokens a text has, uncut."""
        return self.encoder.tokens(text)

    def encode(self, text: str) -> NetworkInputs:
        """Return what a network is told of one text; see `TextEncoder.encode`.

        Raises
        ------
        DiskFullError
            If there is no room for it.
        """
        key = xxhash.xxh3_128_digest(text.encode())
        slot, row = self._find(key)
        if row is not None:
            self.read += 1
            return self._tensors(row[_KEY_BYTES:])
        made = self.encoder.encode(text)
        self.encoded += 1
        if slot is not None and _layout_of(made) == self._layout:
            self._begin()
            content = b"".join(_bytes_of(made[name]) for name in self._layout)
            self._rows(slot).write(slot % _SLOTS_A_FILE, key + content)
        return made

    def refuse_other(self) -> None:
        """Refuse a folder whose record is none of this encoder; writes nothing.

        Raises
        ------
        CorruptFileError
            If its record is not what was written.
        FingerprintMismatchError
            If it is of another encoder.
        """
        path = self._folder / _RECORD
        stored = PROMPTS.read(path)
        if stored is not None:
            PROMPTS.refuse_other(stored, self._record, where=path)

    def missing_bytes(self, texts: int) -> int:
        """Return how much of the disk embeddings of so many texts will take at most."""
        size = self._rows(0).row_bytes
        files = range(-(-self._slots // _SLOTS_A_FILE))
        taken = sum(self._rows(each * _SLOTS_A_FILE).taken_bytes for each in files)
        return max(0, texts * size - taken)

    def distinct_texts(self) -> int:
        """Return how many different captions the samples have; reads them all."""
        hashes = np.zeros(len(self.samples), np.uint64)
        for start in range(0, len(hashes), _COUNTED):
            stop = min(start + _COUNTED, len(hashes))
            for row, text in enumerate(self.samples.conditions(start, stop) or ()):
                hashes[start + row] = xxhash.xxh3_64_intdigest(str(text).encode())
        return len(np.unique(hashes))

    def remarks(self) -> list[str]:
        """Return how many embeddings were read."""
        told = f"{self._folder}: {self.read:,} captions read, {self.encoded:,} encoded"
        return [told] if self.read or self.encoded else []

    def _find(self, key: bytes) -> tuple[int | None, bytes | None]:
        """Return the slot of a text and what is there; no slot if all that it may have are taken.

        A row in pieces is one that nobody has.
        """
        first = int.from_bytes(key[:8], "little")
        for step in range(_TRIED):
            slot = (first + step) % self._slots
            row = self._rows(slot).read(slot % _SLOTS_A_FILE)
            if row is None or row.startswith(key):
                return slot, row
        return None, None

    def _tensors(self, content: bytes) -> NetworkInputs:
        found, start = {}, 0
        for name, (kind, shape) in self._layout.items():
            stop = start + _nbytes(kind, shape)
            piece = bytearray(content[start:stop])
            found[name] = torch.frombuffer(piece, dtype=getattr(torch, kind)).reshape(shape)
            start = stop
        return found

    def _rows(self, slot: int) -> CheckedRows:
        number = slot // _SLOTS_A_FILE
        if number not in self._files:
            size = _KEY_BYTES + sum(_nbytes(*each) for each in self._layout.values())
            self._files[number] = CheckedRows(self._folder / f"{number:05d}.bin", size)
        return self._files[number]

    def _begin(self) -> None:
        """Write the record of a folder that has none, before its first row."""
        if not (self._folder / _RECORD).is_file():
            PROMPTS.begin(self._folder / _RECORD, self._record)

    @property
    def _slots(self) -> int:
        return max(_FEWEST_SLOTS, 2 * len(self.samples))

    @cached_property
    def _folder(self) -> Path:
        kinds = sorted(
            {str(each.dtype) for net in self.networks.values() for each in net.parameters()}
        )
        named = xxhash.xxh3_64_hexdigest(f"{self.identity} {' '.join(kinds)}".encode())
        return self.root / _FOLDER / named

    @cached_property
    def _record(self) -> dict[str, Any]:
        return {
            "text encoder": self.encoder.identity,
            "slots": self._slots,
            "tensors": self._layout,
        }

    @cached_property
    def _layout(self) -> Layout:
        """Return what the encoder makes of a text: known from before, or found by trying."""
        stored = PROMPTS.read(self._folder / _RECORD)
        if stored is not None and isinstance(stored.get("tensors"), dict):
            return dict(stored["tensors"])
        with torch.no_grad():
            return _layout_of(self.encoder.encode(""))


@dataclass
class KeptCaptions(Captions):
    """Captions whose embeddings are kept on disk; made by `with_kept_prompts`.

    Attributes
    ----------
    kept
        The encoder.
    """

    kept: KeptPrompts = field(kw_only=True)

    def remarks(self) -> list[str]:
        """Return what there is to say of captions, and of what is kept."""
        return [*super().remarks(), *self.kept.remarks()]


def with_kept_prompts(captions: Captions, root: Path, samples: Samples) -> KeptCaptions:
    """Return what makes the same of captions, and keeps it below `root`."""
    kept = KeptPrompts(captions.encoder, root, samples)
    return KeptCaptions(kept, captions.always, captions.kept_bytes, captions.of_origins, kept=kept)


def _layout_of(made: NetworkInputs) -> Layout:
    return {
        name: [str(made[name].dtype).removeprefix("torch."), list(made[name].shape)]
        for name in sorted(made)
    }


def _nbytes(kind: str, shape: list[int]) -> int:
    dtype: torch.dtype = getattr(torch, kind)
    return dtype.itemsize * math.prod(shape)


def _bytes_of(tensor: Tensor) -> bytes:
    """Return the bytes of a tensor of any type."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
