"""Prompts from options and files, and what is refused of them."""

from __future__ import annotations

import json

import pytest

from dtrak_stream.errors import InputError
from dtrak_stream.generation.prompts import read_prompts

TEXTS = ["a red cat", "9 dogs, in a row", "ein Käfer"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.txt", "a red cat\n\n 9 dogs, in a row \r\nein Käfer"),
        ("p.txt", "\ufeff" + "\n".join(TEXTS) + "\n"),
        ("p.csv", 'prompt,seed\na red cat,1\n"9 dogs, in a row",2\nein Käfer,3\n'),
        ("p.csv", 'words\na red cat\n"9 dogs, in a row"\nein Käfer\n'),
        ("p.jsonl", "\n".join(json.dumps({"file_name": "x", "text": text}) for text in TEXTS)),
        ("p.jsonl", "\n".join(json.dumps({"Caption": text}) for text in TEXTS)),
    ],
)
def test_prompts_of_a_file_come_after_those_that_are_given(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    prompts = read_prompts(("first",), tmp_path / name)
    assert len(prompts) == 4
    assert prompts.of(range(6)) == ["first", *TEXTS, "first", TEXTS[0]]
    assert prompts.identity == read_prompts(("first", *TEXTS), None).identity
    assert prompts.identity != read_prompts(("firs", "t" + TEXTS[0], *TEXTS[1:]), None).identity


def test_a_prompt_may_be_empty_where_the_file_says_so(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"prompt": ""}\n')
    assert read_prompts((), tmp_path / "p.jsonl").of(range(2)) == ["", ""]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("p.txt", " \n\n", "holds no prompt"),
        ("p.csv", "prompt\n", "holds no prompt"),
        ("p.json", "[]", r"is no file of prompts; give one of these kinds: \.txt, \.csv, \.jsonl"),
        ("p.csv", "prompt,text\na,b\n", "has the columns prompt, text, of which several"),
        ("p.csv", "a,b\na,b\n", "has the columns a, b, of which several"),
        ("p.jsonl", '{"text": 3}', "row 1 has no text in the column text"),
        ("p.csv", "text,n\nx,1\n,2\n", "row 2 has no text in the column text"),
        ("p.txt", b"\xff\xfe", "is not a table in UTF-8"),
    ],
)
def test_files_without_prompts_are_refused(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=words):
        assert read_prompts((), path).identity
