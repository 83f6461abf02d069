"""Captions become inputs of a network: each text once, whatever it comes with."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.model.captions import Captions

CPU = torch.device("cpu")


class Letters:
    """Turns a text into the numbers of its letters; four of them are read."""

    identity, description, weight_bytes = "letters", "a reader of letters", 12
    device, max_tokens = CPU, 4
    networks: ClassVar[dict[str, torch.nn.Module]] = {}

    def __init__(self):
        self.asked: list[str] = []
        self.layer = torch.nn.Linear(4, 4)

    def tokens(self, text):
        return len(text)

    def encode(self, text):
        self.asked.append(text)
        numbers = [float(ord(letter)) for letter in text[:4].ljust(4)]
        return {"text": self.layer(torch.tensor([numbers])), "length": torch.tensor([len(text)])}


def test_equal_texts_are_encoded_once_and_each_sample_has_its_own():
    encoder = Letters()
    captions = Captions(encoder)
    first = captions.inputs(("cat", "dog", "cat"), CPU)
    assert encoder.asked == ["cat", "dog"]
    assert torch.equal(first["text"][0], first["text"][2])
    assert torch.equal(first["text"][1:2], encoder.encode("dog")["text"])
    again = captions.inputs(("dog",), CPU)
    assert encoder.asked == ["cat", "dog", "dog"]  # the last one is the test's own
    assert torch.equal(again["text"], first["text"][1:2])


def test_what_is_kept_has_a_bound_and_the_least_recently_used_goes_first():
    encoder = Letters()
    bytes_of_one = 4 * 4 + 8
    captions = Captions(encoder, kept_bytes=2 * bytes_of_one)
    for text in ("a", "b", "a", "c", "a", "b"):
        captions.inputs((text,), CPU)
    assert encoder.asked == ["a", "b", "c", "b"]
    nothing_kept = Captions(Letters(), kept_bytes=0)
    together = nothing_kept.inputs(("a", "b", "a"), CPU)
    assert torch.equal(together["text"][0], together["text"][2])
    assert not torch.equal(together["text"][0], together["text"][1])


def test_embeddings_do_not_depend_on_what_they_are_computed_for():
    """A model is tried in inference mode, and gradients are taken under autocast afterwards."""
    captions = Captions(Letters())
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        tried = captions.inputs(("cat",), CPU)["text"].clone()
    kept = captions.inputs(("cat",), CPU)["text"]
    assert not kept.requires_grad
    assert kept.dtype == torch.float32
    assert torch.equal(tried, kept)
    weight = torch.ones(4, requires_grad=True)
    (kept * weight).sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, kept[0])


def test_what_all_samples_are_told_is_there_for_each_of_them():
    captions = Captions(Letters(), {"time_ids": torch.tensor([[16.0, 8.0]])})
    inputs = captions.inputs(("a", "b", "c"), CPU)
    assert inputs["time_ids"].tolist() == [[16.0, 8.0]] * 3
    assert captions.identity == "letters, time_ids [16.0, 8.0]"
    assert captions.weight_bytes == 12


def test_captions_that_are_cut_are_counted_once_each_and_named():
    captions = Captions(Letters())
    captions.inputs(("four", "", "longer"), CPU)
    assert captions.remarks() == [
        "1 different caption is longer than the 4 tokens that the model reads, the rest has no "
        "influence ('longer')"
    ]
    captions.inputs(("x" * 50, "longer", "another", "a third"), CPU)
    (line,) = captions.remarks()
    assert line.startswith("4 different captions are longer than the 4 tokens")
    assert line.endswith(f"('longer', '{'x' * 40}...', 'another', ...)")
    short = Captions(Letters())
    short.inputs(("four",), CPU)
    assert short.remarks() == []


def test_what_is_no_text_is_refused():
    with pytest.raises(ConfigurationError, match="3 is no text"):
        Captions(Letters()).inputs(("a", 3), CPU)


def test_made_up_captions_are_as_many_as_wanted_and_differ():
    captions = Captions(Letters())
    made_up = captions.made_up(3)
    captions.check(made_up)
    assert len(set(made_up)) == 3
