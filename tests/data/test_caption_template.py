"""Captions made of columns."""

from __future__ import annotations

import pytest

from dtrak_stream.data.caption_template import CaptionTemplate
from dtrak_stream.errors import ConfigurationError


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("a {label, _ as space, lower} painting", "a ukiyo e painting"),
        ("{label}", "Ukiyo_E"),
        ("{ label , upper }: {artist}, {label}", "UKIYO_E: Hokusai, Ukiyo_E"),
        ("{label, lower, e as 3, _ as nothing}{artist, sai as comma}", "ukiyo3Hoku,"),
        ("a photo", "a photo"),
    ],
)
def test_fields_are_filled_step_by_step(template, expected):
    made = CaptionTemplate(template)
    assert made.filled({"label": "Ukiyo_E", "artist": "Hokusai"}) == expected


def test_columns_are_named_once():
    assert CaptionTemplate("{b} {a, lower} {b, upper}").names == ("b", "a")


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("a {label painting", "braces do not match"),
        ("a label} painting", "braces do not match"),
        ("a {{label}} painting", "braces do not match"),
        ("a {} painting", "names no column"),
        ("a {label, small} painting", "no step 'small'"),
        ("a {label, _ as} painting", "no step '_ as'"),
    ],
)
def test_what_is_no_template_is_refused(template, why):
    with pytest.raises(ConfigurationError, match=why):
        CaptionTemplate(template)
