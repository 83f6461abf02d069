"""Names of models that have a LoRA of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.model.base_and_lora import base_and_lora
from dtrak_stream.model.places import EMBEDDED_BASE, EMBEDDED_LORA, EMBEDDED_MODEL

LORA = "pytorch_lora_weights.safetensors"


@pytest.fixture
def here(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").mkdir()
    (tmp_path / "run" / "checkpoint-100").mkdir(parents=True)
    (tmp_path / "run" / "checkpoint-100" / LORA).touch()
    (tmp_path / "c++.safetensors").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("base", ("base", None)),
        ("base+run/checkpoint-100", ("base", "run/checkpoint-100")),
        ("base/+run/checkpoint-100/" + LORA, ("base/", f"run/checkpoint-100/{LORA}")),
        ("base+c++.safetensors", ("base", "c++.safetensors")),
        ("base+missing", ("base", "missing")),
        ("missing+c++.safetensors", ("missing", "c++.safetensors")),
        ("missing+missing", ("missing+missing", None)),
        ("base+", ("base+", None)),
        (f"{EMBEDDED_MODEL}+missing", (EMBEDDED_MODEL, "missing")),
        (f"{EMBEDDED_BASE}+{EMBEDDED_LORA}", (EMBEDDED_BASE, EMBEDDED_LORA)),
        ("hf:owner/name+run/checkpoint-100", ("hf:owner/name", "run/checkpoint-100")),
        ("owner/name+run/checkpoint-100", ("owner/name", "run/checkpoint-100")),
    ],
)
def test_a_name_is_taken_apart_where_its_sides_are_there(here, model, expected):
    assert base_and_lora(model) == expected


def test_a_model_whose_name_holds_a_plus_is_one(here):
    (here / "one+two").mkdir()
    assert base_and_lora("one+two") == ("one+two", None)
    assert base_and_lora("one+two+run/checkpoint-100") == ("one+two", "run/checkpoint-100")


def test_what_can_be_read_in_two_ways_is_refused(here):
    (here / "base+c++.safetensors").mkdir()
    message = r"in 2 ways: the model base\+c.* or the LoRA c\+\+.safetensors on base"
    with pytest.raises(ConfigurationError, match=message):
        base_and_lora("base+c++.safetensors")
    assert base_and_lora("./base+run/checkpoint-100")[0] == "./base"
