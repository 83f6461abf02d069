"""Captions as what a network is asked with: each text is encoded once, alone, and kept for a while.

Alone, because the last bits of an embedding depend on how many are computed with it: which texts
are kept differs between a run and its continuation, and their embeddings must not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn

from dtrak_stream.data.samples import Condition, ConditionKind, ImageOrigin
from dtrak_stream.errors import ConfigurationError, first_few
from dtrak_stream.model.conditioning import NetworkInputs
from dtrak_stream.support.arithmetic import repeatable
from dtrak_stream.support.device import moved

_KEPT_BYTES = 256 * 2**20
_COUNTED, _TOLD, _LETTERS_TOLD = 100_000, 3, 40


OfOrigins: TypeAlias = Callable[[Sequence[ImageOrigin]], NetworkInputs]
"""What B images were before they were resized -> what a network is told of that, each (B, ...)."""


class TextEncoder(Protocol):
    """Turns a text into numbers: one or several encoders of a pipeline, with their tokenizers."""

    @property
    def identity(self) -> str:
        """Return what it is, for fingerprints: equal strings mean the same numbers."""

    @property
    def description(self) -> str:
        """Return what it is, in a few words for the user."""

    @property
    def weight_bytes(self) -> int:
        """Return how many bytes of memory its weights take."""

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Return its networks, as pipelines call them: `text_encoder`, `text_encoder_2`."""

    @property
    def device(self) -> torch.device:
        """Return where it computes."""

    @property
    def max_tokens(self) -> int:
        """Return how many tokens of a text it reads."""

    def tokens(self, text: str) -> int:
        """Return how many tokens a text has, uncut."""

    def encode(self, text: str) -> NetworkInputs:
        """Return what a network is told of one text, each tensor (1, ...), on `device`."""


class _LastUsed:
    """What was computed of texts, as long as there is room: the least recently used goes first."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._kept: OrderedDict[str, NetworkInputs] = OrderedDict()
        self.nbytes = 0

    def get(self, text: str) -> NetworkInputs | None:
        found = self._kept.get(text)
        if found is not None:
            self._kept.move_to_end(text)
        return found

    def keep(self, text: str, made: NetworkInputs) -> None:
        self._kept[text] = made
        self.nbytes += _size(made)
        while self.nbytes > self._room:
            self.nbytes -= _size(self._kept.popitem(last=False)[1])


def _size(inputs: NetworkInputs) -> int:
    return sum(each.nbytes for each in inputs.values())


class _CutTexts:
    """Counts texts of which a model reads only the beginning, each once."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._first: list[str] = []

    def note(self, text: str) -> None:
        seen = hash(text)
        if seen in self._seen or len(self._seen) == _COUNTED:
            return
        self._seen.add(seen)
        if len(self._first) < _TOLD:
            self._first.append(_shortened(text))

    def lines(self, max_tokens: int) -> list[str]:
        count = len(self._seen)
        if not count:
            return []
        number = f"at least {count:,}" if count == _COUNTED else f"{count:,}"
        captions = "different caption is" if count == 1 else "different captions are"
        return [
            f"{number} {captions} longer than the {max_tokens} tokens that the model reads, the "
            f"rest has no influence ({first_few([*map(repr, self._first)], count=count)})"
        ]


@dataclass
class Captions:
    """A `Conditioner` for models that are told texts.

    Attributes
    ----------
    encoder
        What the texts go through.
    always
        What the network is told besides, the same for all samples: each tensor (1, ...).
    kept_bytes
        Room for embeddings that are kept, on the host.
    of_origins
        What the network is told, in place of some of `always`, of images whose origins are known;
        None if nothing.
    """

    encoder: TextEncoder
    always: NetworkInputs = field(default_factory=dict)
    kept_bytes: int = _KEPT_BYTES
    of_origins: OfOrigins | None = None
    kind: ConditionKind = field(default="caption", init=False)

    def __post_init__(self) -> None:
        self._kept = _LastUsed(self.kept_bytes)
        self._cut = _CutTexts()

    @property
    def identity(self) -> str:
        """Return the encoder's, and what is told besides."""
        besides = [f", {name} {each.tolist()[0]}" for name, each in self.always.items()]
        own = "" if self.of_origins is None else ", the own size and crop of each image"
        return self.encoder.identity + "".join(besides) + own

    @property
    def description(self) -> str:
        """Return what reads the captions."""
        return f"a caption read by {self.encoder.description}"

    @property
    def weight_bytes(self) -> int:
        """Return how many bytes of memory the weights of the encoder take."""
        return self.encoder.weight_bytes

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Return those of the encoder."""
        return self.encoder.networks

    def check(self, conditions: Sequence[Condition]) -> None:
        """Raise `ConfigurationError` for what is no text."""
        for caption in conditions:
            if not isinstance(caption, str):
                raise ConfigurationError(
                    f"{caption!r} is no text",
                    where="caption",
                    remedy="give the captions that the model was trained with",
                )

    def inputs(
        self,
        conditions: Sequence[Condition],
        device: torch.device,
        origins: Sequence[ImageOrigin] | None = None,
    ) -> NetworkInputs:
        """Return the embeddings of B captions and what is told besides, each tensor (B, ...)."""
        self.check(conditions)
        each = [self._encoded(str(caption)) for caption in conditions]
        made = {name: moved(torch.cat([one[name] for one in each]), device) for name in each[0]}
        besides = {
            name: value.expand(len(each), *value.shape[1:]) for name, value in self.always.items()
        }
        if self.of_origins is not None and origins is not None:
            besides |= self.of_origins(origins)
        return made | {name: moved(value, device) for name, value in besides.items()}

    def made_up(self, count: int) -> tuple[Condition, ...]:
        """Return texts of a word."""
        return tuple(str(number) for number in range(count))

    def remarks(self) -> list[str]:
        """Return how many captions were longer than the model reads, and the first of them."""
        return self._cut.lines(self.encoder.max_tokens)

    def note(self, texts: Sequence[str]) -> None:
        """Count those of some texts that are longer than the model reads, for `remarks`."""
        for text in texts:
            if self.encoder.tokens(text) > self.encoder.max_tokens:
                self._cut.note(text)

    def _encoded(self, text: str) -> NetworkInputs:
        """Return the embedding of a text, on the host, the same whatever it is computed within."""
        kept = self._kept.get(text)
        if kept is not None:
            return kept
        self.note([text])
        device = self.encoder.device
        with (
            torch.no_grad(),
            torch.autocast(device.type, enabled=False),
            repeatable(device),
        ):
            made: Mapping[str, Tensor] = {
                name: each.cpu() for name, each in self.encoder.encode(text).items()
            }
        self._kept.keep(text, made)
        return made


def _shortened(text: str) -> str:
    return text if len(text) <= _LETTERS_TOLD else text[:_LETTERS_TOLD] + "..."
