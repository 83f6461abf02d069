"""How the transformers of flow matching read captions: with CLIP and T5, each in its own place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dtrak_stream.model.conditioning import POOLED, PROMPTS, NetworkInputs
from dtrak_stream.model.text_parts import TextPart

_NAMES = ("text_encoder", "text_encoder_2", "text_encoder_3")
_TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")


@dataclass(frozen=True)
class SeveralTexts:
    """A `TextEncoder` of several parts that read the same text.

    Attributes
    ----------
    parts
        Encoders with their tokenizers, in the order of their names; the last one reads most.
    """

    parts: tuple[TextPart, ...]

    @property
    def identity(self) -> str:
        """Return those of all parts, and how long texts are."""
        each = (f"{part.identity} of {part.max_tokens} tokens" for part in self.parts)
        return f"{type(self).__name__} {', '.join(each)}"

    @property
    def description(self) -> str:
        """Return those of all parts."""
        *first, last = (part.description for part in self.parts)
        return f"{', '.join(first)} and {last}"

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Return the encoders, as pipelines call them: `text_encoder`, `text_encoder_2`."""
        return {name: part.encoder for name, part in zip(_NAMES, self.parts, strict=False)}

    @property
    def tokenizers(self) -> Mapping[str, Any]:
        """Return the tokenizers, as pipelines call them: `tokenizer`, `tokenizer_2`."""
        pairs = zip(_TOKENIZERS, self.parts, strict=False)
        return {name: part.pipeline_tokenizer for name, part in pairs}

    @property
    def weight_bytes(self) -> int:
        """Return how many bytes the weights of all take."""
        return sum(part.weight_bytes for part in self.parts)

    @property
    def device(self) -> torch.device:
        """Return where they compute."""
        return self.parts[0].device

    @property
    def max_tokens(self) -> int:
        """Return how many tokens the last one reads: what others cut has an influence there."""
        return self.parts[-1].max_tokens

    def tokens(self, text: str) -> int:
        """Return how many tokens a text has for the last one, uncut."""
        return self.parts[-1].tokens(text)


@dataclass(frozen=True)
class TwoClipsAndT5(SeveralTexts):
    """Stable Diffusion 3 (Esser et al. 2024, section 4).

    Of both CLIPs the last layer but one is taken, before any normalisation, side by side and
    filled up with zeros to the width of T5; after them, as further tokens, comes the last layer of
    T5. Their pooled and projected texts side by side are told apart from that. Padding is not
    masked. A pipeline without T5 has zeros in its place.

    Attributes
    ----------
    width
        Of what the network reads for each token.
    t5_tokens
        How many of them are T5's.
    """

    width: int
    t5_tokens: int

    @property
    def identity(self) -> str:
        """Return those of all parts, and how many zeros there are in place of T5."""
        return super().identity + self._without_t5

    @property
    def description(self) -> str:
        """Return those of all parts, and whether T5 is missing."""
        return super().description + self._without_t5

    @property
    def _without_t5(self) -> str:
        return "" if len(self.parts) > 2 else f" without T5 ({self.t5_tokens} tokens of zeros)"

    def encode(self, text: str) -> NetworkInputs:
        """Return {"encoder_hidden_states": (1, L + L5, D), "pooled_projections": (1, P1 + P2)}."""
        layers: list[Tensor] = []
        pooled: list[Tensor] = []
        for part in self.parts[:2]:
            tokens, _ = part.tokenized(text)
            answer = part.encoder(tokens, output_hidden_states=True)
            layers.append(answer.hidden_states[-2])
            pooled.append(answer.text_embeds)
        both = torch.cat(layers, dim=-1)  # (1, L, D1 + D2)
        filled = nn.functional.pad(both, (0, self.width - both.shape[-1]))  # (1, L, D)
        prompt = torch.cat([filled, self._of_t5(text, filled)], dim=1)
        return {PROMPTS: prompt, POOLED: torch.cat(pooled, dim=-1)}

    def _of_t5(self, text: str, like: Tensor) -> Tensor:
        """Return what T5 makes of a text, (1, L5, D)."""
        for part in self.parts[2:]:
            tokens, _ = part.tokenized(text)
            answer: Tensor = part.encoder(tokens)[0]
            return answer
        return like.new_zeros(1, self.t5_tokens, self.width)


class PooledClipAndT5(SeveralTexts):
    """Flux: the pooled text of CLIP's last layer, and all tokens of T5's. Padding is not masked."""

    def encode(self, text: str) -> NetworkInputs:
        """Return {"encoder_hidden_states": (1, L, D), "pooled_projections": (1, P)}."""
        clip, t5 = self.parts
        tokens, _ = clip.tokenized(text)
        words, _ = t5.tokenized(text)
        return {PROMPTS: t5.encoder(words)[0], POOLED: clip.encoder(tokens).pooler_output}
