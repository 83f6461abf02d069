"""`NAME=SRC`: which part is the name."""

from __future__ import annotations

import pytest

from dtrak_stream.data.named_source import split_name


@pytest.mark.parametrize(
    ("text", "name", "source"),
    [
        ("images", "", "images"),
        ("mine=images", "mine", "images"),
        ("a_1=x=y", "a_1", "x=y"),
        ("./mine=images", "", "./mine=images"),
        ("run/lr=0.1", "", "run/lr=0.1"),
        ("1st=images", "", "1st=images"),
        ("mine=", "", "mine="),
        ("=images", "", "=images"),
        ("new\nline=images", "", "new\nline=images"),
        ("mine=a\nb", "mine", "a\nb"),
    ],
)
def test_a_name_is_one_word_before_the_first_sign(text, name, source):
    assert split_name(text) == (name, source)
