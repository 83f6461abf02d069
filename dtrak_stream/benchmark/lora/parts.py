"""The parts of the base model, with fresh weights: tokenizer, text encoder, autoencoder, UNet."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel

GARMENTS = (
    *("t-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "boot"),
)
"""The classes of Fashion-MNIST, by their labels."""
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TOKENS = 16
_ENDS = ("<|startoftext|>", "<|endoftext|>")
_WORD_END = "</w>"


def caption_of(garment: str) -> str:
    """Return what the base model is told of an image."""
    return f"a photo of a {garment}"


def prompt_of(digit: int) -> str:
    """Return the caption that images of a digit are trained and asked with."""
    return f"a handwritten {DIGITS[digit]}"


def make_tokenizer(folder: Path) -> Any:
    """Return a CLIPTokenizer of the words of both data sets; its files go to `folder`.

    Every process numbers the tokens alike.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers  # of the extra text
    from transformers import CLIPTokenizer

    texts = [*map(caption_of, GARMENTS), *map(prompt_of, range(len(DIGITS)))]
    letters = list(string.ascii_lowercase + string.digits + ",.-'")
    learnt = Tokenizer(models.BPE(end_of_word_suffix=_WORD_END))
    learnt.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        end_of_word_suffix=_WORD_END,
        # letters that end a word would be numbered in an order that no two processes have alike
        special_tokens=[*_ENDS, *letters, *(letter + _WORD_END for letter in letters)],
        show_progress=False,
    )
    learnt.train_from_iterator(texts * 50, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    learnt.model.save(str(folder))
    return CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=TOKENS
    )


def make_text_encoder(tokenizer: Any) -> Any:
    """Return a CLIPTextModel of two layers of 32 channels."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def make_autoencoder() -> AutoencoderKL:
    """Return an autoencoder of grey 16x16 images to latents 4x8x8."""
    return AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(16, 32),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=16,
        mid_block_add_attention=False,
    )


def make_network() -> UNet2DConditionModel:
    """Return a UNet of two levels, the first of which attends to the caption."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )


def make_scheduler() -> DDPMScheduler:
    """Return the noise of Stable Diffusion 1.x."""
    return DDPMScheduler(
        beta_schedule="scaled_linear",
        steps_offset=1,
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
    )
