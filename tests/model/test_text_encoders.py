"""Texts are read as the pipelines of diffusers read them, from parts that are all there."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dtrak_stream.data.options import ImageShape
from dtrak_stream.errors import ConfigurationError, ModelError
from dtrak_stream.model.captions import Captions
from dtrak_stream.model.layout import find_model
from dtrak_stream.model.options import LoadingOptions
from dtrak_stream.model.text_to_image import captions_of_pixart, captions_of_unet
from tests.model.folders import editing
from tests.model.text_pipelines import SIZE, pixart, stable_diffusion, stable_diffusion_xl

CPU = torch.device("cpu")
USUAL = (LoadingOptions(), CPU)
IMAGE = ImageShape(3, SIZE, SIZE)
TEXTS = ("a red cat", "", "9 dogs and some more of them")
NO_GUIDANCE = {"do_classifier_free_guidance": False, "num_images_per_prompt": 1}
MAKERS: dict[str, tuple[Any, Any]] = {
    "sd": (stable_diffusion, captions_of_unet),
    "sdxl": (stable_diffusion_xl, captions_of_unet),
    "pixart": (pixart, captions_of_pixart),
}


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory):
    made = {}
    for name, (make, _) in MAKERS.items():
        folder = tmp_path_factory.mktemp(name)
        made[name] = (make(folder), folder / "pipeline")
    return made


def network_of(pipeline):
    return pipeline.transformer if hasattr(pipeline, "transformer") else pipeline.unet


def captions_of(name, pipelines, folder=None) -> Captions:
    pipeline, saved = pipelines[name]
    captions = MAKERS[name][1](
        network_of(pipeline), find_model(Path(folder or saved)), IMAGE, *USUAL
    )
    assert isinstance(captions, Captions)
    return captions


@pytest.fixture
def copied(tmp_path, pipelines):
    return lambda name: Path(shutil.copytree(pipelines[name][1], tmp_path / name))


def test_texts_of_stable_diffusion_are_those_of_its_pipeline(pipelines):
    captions = captions_of("sd", pipelines)
    found = captions.inputs(TEXTS, CPU)
    for row, text in enumerate(TEXTS):
        expected, _ = pipelines["sd"][0].encode_prompt(text, CPU, 1, False)
        assert torch.equal(found["encoder_hidden_states"][row : row + 1], expected)
    assert found.keys() == {"encoder_hidden_states"}
    assert captions.kind == "caption"
    assert captions.description == "a caption read by CLIPTextModel (12 tokens)"
    assert captions.remarks() == [
        "1 different caption is longer than the 12 tokens that the model reads, the rest has no "
        "influence ('9 dogs and some more of them')"
    ]


def test_texts_of_stable_diffusion_xl_are_those_of_its_pipeline(pipelines):
    pipeline, _ = pipelines["sdxl"]
    found = captions_of("sdxl", pipelines).inputs(TEXTS, CPU)
    for row, text in enumerate(TEXTS):
        expected, _, pooled, _ = pipeline.encode_prompt(text, device=CPU, **NO_GUIDANCE)
        assert torch.equal(found["encoder_hidden_states"][row : row + 1], expected)
        assert torch.equal(found["text_embeds"][row : row + 1], pooled)
    assert found["time_ids"].tolist() == [[SIZE, SIZE, 0, 0, SIZE, SIZE]] * 3


@torch.no_grad()
def test_texts_of_pixart_are_those_of_its_pipeline(pipelines):
    texts = ("A red Cat ", "", "nine dogs")
    found = captions_of("pixart", pipelines).inputs(texts, CPU)
    for row, text in enumerate(texts):
        expected, mask, *_ = pipelines["pixart"][0].encode_prompt(text, **NO_GUIDANCE)
        assert torch.equal(found["encoder_hidden_states"][row : row + 1], expected)
        assert torch.equal(found["encoder_attention_mask"][row : row + 1], mask)
    assert found["encoder_hidden_states"].shape == (3, 120, 8)
    assert found.keys() == {"encoder_hidden_states", "encoder_attention_mask"}


def test_pixart_is_told_the_shape_of_images_where_it_was_trained_on_several(pipelines, tmp_path):
    pipeline = pixart(tmp_path, told_shape=True)
    found = find_model(tmp_path / "pipeline")
    captions = captions_of_pixart(pipeline.transformer, found, ImageShape(3, 16, 32), *USUAL)
    inputs = captions.inputs(("a", "b"), CPU)
    assert inputs["resolution"].tolist() == [[16.0, 32.0]] * 2
    assert inputs["aspect_ratio"].tolist() == [[0.5]] * 2


def test_how_long_captions_are_is_that_of_the_pipeline(pipelines, copied):
    folder = copied("pixart")
    for name, tokens in (("PixArtSigmaPipeline", 300), ("Another", 512)):
        with editing(folder / "model_index.json") as index:
            index["_class_name"] = name
        assert captions_of("pixart", pipelines, folder).encoder.max_tokens == tokens
    with editing(folder / "tokenizer" / "tokenizer_config.json") as config:
        del config["model_max_length"]
    with pytest.raises(ModelError, match="does not say how many tokens"):
        captions_of("pixart", pipelines, folder)
    folder = copied("sd")  # CLIP has no room for more
    with editing(folder / "tokenizer" / "tokenizer_config.json") as config:
        del config["model_max_length"]
    assert captions_of("sd", pipelines, folder).encoder.max_tokens == 12


@pytest.mark.parametrize("name", MAKERS)
def test_weights_tokenizer_and_length_are_in_the_identity(name, pipelines, copied):
    before = captions_of(name, pipelines).identity
    folder = copied(name)
    assert captions_of(name, pipelines, folder).identity == before
    part = max(folder.glob("text_encoder*"))  # the second one where there are two
    weights = load_file(part / "model.safetensors")
    first = min(weights)
    weights[first] = weights[first] + 1e-3
    save_file(weights, part / "model.safetensors", metadata={"format": "pt"})
    assert captions_of(name, pipelines, folder).identity != before
    shutil.copy(pipelines[name][1] / part.name / "model.safetensors", part)
    assert captions_of(name, pipelines, folder).identity == before
    with editing(folder / "tokenizer" / "tokenizer_config.json") as tokenizer:
        tokenizer["padding_side"] = "left"
    assert captions_of(name, pipelines, folder).identity != before


def test_layers_that_weights_do_not_tell_are_in_the_identity(pipelines, copied):
    folder = copied("sd")
    with editing(folder / "text_encoder" / "config.json") as config:
        config["hidden_act"] = "gelu"
    before, after = captions_of("sd", pipelines), captions_of("sd", pipelines, folder)
    assert before.identity != after.identity
    assert not torch.equal(
        before.inputs(("cat",), CPU)["encoder_hidden_states"],
        after.inputs(("cat",), CPU)["encoder_hidden_states"],
    )


def test_pickled_weights_are_those_of_safetensors_and_that_is_said(pipelines, copied):
    folder = copied("sd")
    identity = captions_of("sd", pipelines, folder).identity
    path = folder / "text_encoder" / "model.safetensors"
    torch.save(load_file(path), path.with_name("pytorch_model.bin"))
    path.unlink()
    pickled = captions_of("sd", pipelines, folder)
    assert pickled.description.endswith(", from .bin files by torch's loader of weights alone)")
    assert pickled.identity == identity


def test_weights_of_half_precision_are_computed_with_in_float32(pipelines, copied):
    folder = copied("sd")
    path = folder / "text_encoder" / "model.safetensors"
    halves = {name: each.half() for name, each in load_file(path).items()}
    save_file(halves, path.with_name("model.fp16.safetensors"), metadata={"format": "pt"})
    path.unlink()
    with editing(folder / "text_encoder" / "config.json") as config:
        config["dtype"] = "float16"
    captions = captions_of("sd", pipelines, folder)
    assert captions.description.endswith(
        "(12 tokens of float16, computed in float32, variant fp16)"
    )
    assert captions.inputs(("cat",), CPU)["encoder_hidden_states"].dtype == torch.float32


def test_buffers_that_older_versions_saved_are_no_weights(pipelines, copied):
    folder = copied("sd")
    path = folder / "text_encoder" / "model.safetensors"
    weights = load_file(path)
    weights["text_model.embeddings.position_ids"] = torch.arange(12)[None]
    save_file(weights, path, metadata={"format": "pt"})
    captions_of("sd", pipelines, folder)


@pytest.mark.parametrize(("change", "words"), [(-1, "files lack 1"), (1, "no place for 1")])
def test_missing_and_unknown_weights_are_refused(change, words, pipelines, copied):
    folder = copied("sd")
    path = folder / "text_encoder" / "model.safetensors"
    weights = load_file(path)
    if change < 0:
        weights.popitem()
    else:
        weights["another.weight"] = torch.zeros(1)
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=words):
        captions_of("sd", pipelines, folder)


def test_parts_that_are_missing_or_others_are_refused(pipelines, copied):
    folder = copied("sdxl")
    (folder / "text_encoder_2").rename(folder / "elsewhere")
    with pytest.raises(ModelError, match="text_encoder_2, and there is no such folder"):
        captions_of("sdxl", pipelines, folder)
    (folder / "elsewhere").rename(folder / "text_encoder_2")
    with editing(folder / "model_index.json") as index:
        index["text_encoder_2"] = ["transformers", "CLIPTextModel"]
    with pytest.raises(ModelError, match="text_encoder_2 is a CLIPTextModel, not a CLIPTextModelW"):
        captions_of("sdxl", pipelines, folder)
    with editing(folder / "model_index.json") as index:
        index["text_encoder_2"] = [None, None]
    with pytest.raises(ModelError, match="has no text_encoder_2"):
        captions_of("sdxl", pipelines, folder)
    folder = copied("sd")
    (folder / "text_encoder" / "model.safetensors").rename(folder / "text_encoder" / "a.ckpt")
    with pytest.raises(ModelError, match=r"CLIPTextModel\.save_pretrained"):
        captions_of("sd", pipelines, folder)


def test_without_transformers_what_to_install_is_said(pipelines, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigurationError, match="pip install transformers sentencepiece"):
        captions_of("sd", pipelines)
