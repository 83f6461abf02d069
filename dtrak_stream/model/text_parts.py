"""A text encoder of a pipeline and its tokenizer, as transformers reads them from their folders."""

from __future__ import annotations

import json
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
import xxhash
from torch import Tensor, nn

from dtrak_stream.errors import ModelError
from dtrak_stream.model.config_files import read_config
from dtrak_stream.model.model_folder import NETWORK_FILE, ModelFolder, ModelPart
from dtrak_stream.model.parameters import refuse_weights_not_finite, weights_hash
from dtrak_stream.model.weight_files import (
    OF_TRANSFORMERS,
    WeightFiles,
    find_weights,
    refuse_other_weights,
)
from dtrak_stream.support.transformers_package import silenced, transformers_package

# what decides numbers besides the weights and their shapes, of CLIP and of T5
_DECIDES = (
    *("hidden_act", "layer_norm_eps", "num_attention_heads", "eos_token_id"),
    *("num_heads", "feed_forward_proj", "layer_norm_epsilon", "relative_attention_num_buckets"),
    "relative_attention_max_distance",
)
_MOST_TOKENS = 4096
CLIP_TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast")
T5_TOKENIZERS = ("T5Tokenizer", "T5TokenizerFast")
_OF_TOKENIZER = frozenset({".json", ".txt", ".model"})
# a buffer that older versions saved: 0, 1, 2, ...
_WITHOUT_MEANING = "position_ids"
_INSTALL = "pip install transformers sentencepiece protobuf (the extra `text` of dtrak-stream)"


@dataclass(frozen=True)
class TextPart:
    """A frozen encoder and its tokenizer.

    Attributes
    ----------
    class_name
        The encoder's.
    tokenizer, encoder
        As transformers makes them; the encoder computes in float32, in evaluation mode.
    max_tokens
        The length that every text is padded or cut to.
    tokenizer_hash
        Of the tokenizer's files.
    saved_dtype
        In which precision the weights lie in their files.
    files
        What is unusual about those files, as a clause.
    """

    class_name: str
    tokenizer: Any
    encoder: Any
    max_tokens: int
    tokenizer_hash: str
    saved_dtype: str
    files: str = ""

    @cached_property
    def identity(self) -> str:
        """Return a hash of weights, layers and the tokenizer's files, as they are when asked first.

        That is after the LoRA, if there is one.
        """
        return f"{self.class_name} {_hash(self.encoder)} {self.tokenizer_hash}"

    @property
    def description(self) -> str:
        """Return its class, how much it reads and in which precision, in a few words."""
        half = self.saved_dtype in ("float16", "bfloat16")
        precision = f" of {self.saved_dtype}, computed in float32" if half else ""
        return f"{self.class_name} ({self.max_tokens} tokens{precision}{self.files})"

    @property
    def device(self) -> torch.device:
        """Return where the encoder is."""
        return cast(torch.device, self.encoder.device)

    @property
    def weight_bytes(self) -> int:
        """Return how many bytes its weights take."""
        return sum(each.numel() * each.element_size() for each in self.encoder.parameters())

    @cached_property
    def pipeline_tokenizer(self) -> Any:
        """Return the tokenizer for a pipeline, which asks it how long texts are."""
        own = copy(self.tokenizer)
        own.model_max_length = self.max_tokens
        return own

    def tokens(self, text: str) -> int:
        """Return how many tokens a text has, uncut, with those that mark its ends."""
        return len(self.tokenizer(text, verbose=False)["input_ids"])

    def tokenized(self, text: str) -> tuple[Tensor, Tensor]:
        """Return the tokens of a text, cut or padded, and which are no padding: both (1, L)."""
        made = self.tokenizer(
            [text],
            padding="max_length",
            max_length=self.max_tokens,
            truncation=True,
            return_tensors="pt",
        )
        return made["input_ids"].to(self.device), made["attention_mask"].to(self.device)


def load_text_part(
    found: ModelFolder,
    class_name: str,
    tokenizers: tuple[str, ...],
    *,
    device: torch.device | str,
    suffix: str = "",
    max_tokens: int | None = None,
) -> TextPart:
    """Load a text encoder of a pipeline and its tokenizer, from local files alone.

    Parameters
    ----------
    found
        The pipeline.
    class_name, tokenizers
        The only class that the encoder may have, and those that the tokenizer may have.
    device
        Where the encoder computes.
    suffix
        What comes after `text_encoder` and `tokenizer` in the names of the two parts.
    max_tokens
        The length that texts are padded or cut to; that which the tokenizer knows if None.

    Raises
    ------
    ModelError
        If one of the parts is not there or of another class, weights are missing, too many or not
        finite, or it is not known how long texts may be.
    ConfigurationError
        If transformers is not installed.
    """
    tokens = _part(found, f"tokenizer{suffix}", tokenizers)
    part = _part(found, f"text_encoder{suffix}", (class_name,))
    transformers = transformers_package(where=str(part.folder), remedy=_INSTALL)
    with silenced(transformers):
        tokenizer = getattr(transformers, tokens.class_name).from_pretrained(
            tokens.folder, local_files_only=True
        )
        weights = find_weights(part.folder, stem=OF_TRANSFORMERS, class_name=class_name)
        encoder = _load_encoder(getattr(transformers, class_name), part.folder, weights)
    encoder = encoder.to(device).eval().requires_grad_(False)
    saved = read_config(part.folder / NETWORK_FILE, what="configuration of a text encoder")
    return TextPart(
        class_name,
        tokenizer,
        encoder,
        max_tokens or _length(tokenizer, encoder, tokens.folder),
        _hash_of_files(tokens.folder),
        str(saved.get("dtype") or saved.get("torch_dtype")),
        weights.description,
    )


def _part(found: ModelFolder, name: str, classes: tuple[str, ...]) -> ModelPart:
    part = found.further.get(name)
    if part is not None and part.class_name in classes and part.folder.is_dir():
        return part
    if part is None:
        problem = f"has no {name}, which the captions of a {found.class_name} are read by"
    elif not part.folder.is_dir():
        problem = f"names a {name}, and there is no such folder"
    else:
        problem = f"its {name} is a {part.class_name}, not a {' or '.join(classes)}"
    raise ModelError(
        problem,
        where=found.named_by,
        remedy="give the whole pipeline folder, as save_pretrained writes it, or as --base the "
        "one that a network alone was trained from",
    )


def _load_encoder(encoder_class: Any, folder: Path, weights: WeightFiles) -> Any:
    encoder, report = encoder_class.from_pretrained(
        folder,
        variant=weights.variant,
        dtype=torch.float32,
        use_safetensors=weights.ending == "safetensors",
        local_files_only=True,
        output_loading_info=True,
    )
    unexpected = [key for key in report["unexpected_keys"] if not key.endswith(_WITHOUT_MEANING)]
    refuse_other_weights({**report, "unexpected_keys": unexpected}, folder)
    refuse_weights_not_finite(encoder, folder)
    return encoder


def _length(tokenizer: Any, encoder: Any, folder: Path) -> int:
    """Return how many tokens a text has: what the tokenizer says, if the encoder has room."""
    room = getattr(encoder.config, "max_position_embeddings", None)
    said = int(tokenizer.model_max_length)  # a huge number where nothing is said
    if said <= (room or _MOST_TOKENS):
        return said
    if room is not None:
        return int(room)
    raise ModelError(
        "does not say how many tokens a caption has (model_max_length)",
        where=folder,
        remedy="write the number that the model was trained with into tokenizer_config.json",
    )


def _hash(encoder: nn.Module) -> str:
    config: dict[str, Any] = encoder.config.to_dict()  # type: ignore[operator, union-attr]
    decided = json.dumps({name: config.get(name) for name in _DECIDES}, sort_keys=True)
    return xxhash.xxh3_64_hexdigest(f"{weights_hash(encoder)} {decided}".encode())


def _hash_of_files(folder: Path) -> str:
    digest = xxhash.xxh3_64()
    for path in sorted(folder.iterdir()):
        if path.suffix in _OF_TOKENIZER:
            content = path.read_bytes()
            digest.update(f"{path.name} {len(content)} ".encode() + content)
    return digest.hexdigest()
