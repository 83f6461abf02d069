"""How the families read captions: as the training scripts and pipelines of diffusers do.

Whatever the family, a text is padded or cut to a fixed number of tokens. What training does with
captions before that (dropping some, choosing among several) is a matter of the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dtrak_stream.model.conditioning import POOLED_TEXT, PROMPT_MASK, PROMPTS, NetworkInputs
from dtrak_stream.model.text_parts import TextPart


@dataclass(frozen=True)
class OneText:
    """A `TextEncoder` of one part.

    Attributes
    ----------
    part
        The encoder and its tokenizer.
    """

    part: TextPart

    @property
    def identity(self) -> str:
        """Return that of the part, and how long texts are."""
        return f"{type(self).__name__} {self.part.identity}, {self.part.max_tokens} tokens"

    @property
    def description(self) -> str:
        """Return that of the part."""
        return self.part.description

    @property
    def weight_bytes(self) -> int:
        """Return that of the part."""
        return self.part.weight_bytes

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Return the encoder of the part."""
        return {"text_encoder": self.part.encoder}

    @property
    def tokenizers(self) -> Mapping[str, Any]:
        """Return the tokenizer of the part."""
        return {"tokenizer": self.part.pipeline_tokenizer}

    @property
    def device(self) -> torch.device:
        """Return where it computes."""
        return self.part.device

    @property
    def max_tokens(self) -> int:
        """Return how many tokens it reads."""
        return self.part.max_tokens

    def tokens(self, text: str) -> int:
        """Return how many tokens a text has, uncut."""
        return self.part.tokens(text)


class LastLayer(OneText):
    """Stable Diffusion 1.x and 2.x: what comes out of the last layer, after its normalisation.

    That of 2.x has as many layers as its configuration says: the last one of OpenCLIP was left out
    when it was converted. Padding is not masked.
    """

    def encode(self, text: str) -> NetworkInputs:
        """Return {"encoder_hidden_states": (1, L, D)}."""
        tokens, _ = self.part.tokenized(text)
        return {PROMPTS: self.part.encoder(tokens)[0]}


class LowercaseMasked(OneText):
    """PixArt: the last layer of T5 on lower-case letters, without what is padded.

    Its pipelines make texts lower-case and strip them, unless told to clean them further.
    """

    def encode(self, text: str) -> NetworkInputs:
        """Return {"encoder_hidden_states": (1, L, D), "encoder_attention_mask": (1, L) int64}."""
        tokens, mask = self.part.tokenized(_lowercase(text))
        return {PROMPTS: self.part.encoder(tokens, attention_mask=mask)[0], PROMPT_MASK: mask}

    def tokens(self, text: str) -> int:
        """Return how many tokens a text has, uncut."""
        return self.part.tokens(_lowercase(text))


def _lowercase(text: str) -> str:
    return text.lower().strip()


@dataclass(frozen=True)
class TwoPenultimateLayers:
    """Stable Diffusion XL (Podell et al. 2023): two encoders side by side, the second one pooled.

    Of both the last layer but one is taken, before any normalisation; the pooled and projected
    text comes from the last layer of the second.

    Attributes
    ----------
    first, second
        CLIP and OpenCLIP, with their tokenizers.
    """

    first: TextPart
    second: TextPart

    @property
    def identity(self) -> str:
        """Return those of both, and how long texts are."""
        both = f"{self.first.identity}, {self.second.identity}"
        lengths = f"{self.first.max_tokens} and {self.second.max_tokens} tokens"
        return f"{type(self).__name__} {both}, {lengths}"

    @property
    def description(self) -> str:
        """Return those of both."""
        return f"{self.first.description} and {self.second.description}"

    @property
    def weight_bytes(self) -> int:
        """Return how many bytes the weights of both take."""
        return self.first.weight_bytes + self.second.weight_bytes

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Return both encoders."""
        return {"text_encoder": self.first.encoder, "text_encoder_2": self.second.encoder}

    @property
    def tokenizers(self) -> Mapping[str, Any]:
        """Return both tokenizers."""
        return {
            "tokenizer": self.first.pipeline_tokenizer,
            "tokenizer_2": self.second.pipeline_tokenizer,
        }

    @property
    def device(self) -> torch.device:
        """Return where they compute."""
        return self.first.device

    @property
    def max_tokens(self) -> int:
        """Return how many tokens they read."""
        return min(self.first.max_tokens, self.second.max_tokens)

    def tokens(self, text: str) -> int:
        """Return how many tokens a text has, uncut."""
        return max(self.first.tokens(text), self.second.tokens(text))

    def encode(self, text: str) -> NetworkInputs:
        """Return {"encoder_hidden_states": (1, L, D1 + D2), "text_embeds": (1, P)}."""
        layers: list[Tensor] = []
        for part in (self.first, self.second):
            tokens, _ = part.tokenized(text)
            answer = part.encoder(tokens, output_hidden_states=True)
            layers.append(answer.hidden_states[-2])
        return {PROMPTS: torch.cat(layers, dim=-1), POOLED_TEXT: answer.text_embeds}
