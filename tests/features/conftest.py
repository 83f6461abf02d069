"""A randomly initialised CLIP small enough for tests, as a user would keep it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from dtrak_stream.support.transformers_package import silenced


def save_clip(folder: Path, seed: int = 0, width: int = 12) -> str:
    """Save a CLIP of two layers, for images of 16x16, whose embeddings have `width` numbers."""
    layer = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    text = {**layer, "num_hidden_layers": 1, "vocab_size": 20, "bos_token_id": 0, "eos_token_id": 1}
    vision = {**layer, "num_hidden_layers": 2, "image_size": 16, "patch_size": 4}
    torch.manual_seed(seed)
    with silenced(transformers):
        config = transformers.CLIPConfig(
            text_config=text, vision_config=vision, projection_dim=width
        )
        transformers.CLIPModel(config).save_pretrained(folder)
        crop = {"height": 16, "width": 16}
        transformers.CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=crop).save_pretrained(
            folder
        )
    return str(folder)


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory) -> str:
    return save_clip(tmp_path_factory.mktemp("clip"))
