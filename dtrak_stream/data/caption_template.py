"""A caption made of what lies beside an image, as `--caption-template` says it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from dtrak_stream.errors import ConfigurationError

_FIELD = re.compile(r"\{([^{}]*)\}")
_REPLACING = re.compile(r"(?P<old>\S+) as (?P<new>\S+|nothing)")
_WORDS = {"space": " ", "nothing": "", "comma": ","}
_CASES: dict[str, Callable[[str], str]] = {"lower": str.lower, "upper": str.upper}


@dataclass(frozen=True)
class _Field:
    name: str
    steps: tuple[Callable[[str], str], ...]

    def filled(self, values: Mapping[str, str]) -> str:
        text = values[self.name]
        for step in self.steps:
            text = step(text)
        return text


class CaptionTemplate:
    """Text with fields `{NAME}` or `{NAME, STEP, ...}` that are filled from columns.

    A step is `lower`, `upper`, or `A as B`, which puts B for every A (`space`, `comma` and
    `nothing` are what they are called). Braces stand for nothing else.

    Parameters
    ----------
    text
        Such as "a {label, _ as space, lower} painting", which makes "a ukiyo e painting" of the
        label "Ukiyo_e".

    Raises
    ------
    ConfigurationError
        If braces are left over, or a step is not known.

    Attributes
    ----------
    names
        The columns it is made of, each once.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        pieces = _FIELD.split(text)  # texts and fields in turn
        self._texts = pieces[0::2]
        if any("{" in piece or "}" in piece for piece in self._texts):
            raise self._refused("its braces do not match")
        self._fields = [self._field(piece) for piece in pieces[1::2]]
        self.names = tuple(dict.fromkeys(field.name for field in self._fields))

    def filled(self, values: Mapping[str, str]) -> str:
        """Return the caption; `values` are the texts of the columns it is made of."""
        filled = [field.filled(values) for field in self._fields]
        return "".join(map(str.__add__, self._texts, [*filled, ""]))

    def _field(self, inside: str) -> _Field:
        name, *steps = (part.strip() for part in inside.split(","))
        if not name:
            raise self._refused("a field names no column")
        return _Field(name, tuple(map(self._step, steps)))

    def _step(self, step: str) -> Callable[[str], str]:
        if step in _CASES:
            return _CASES[step]
        match = _REPLACING.fullmatch(step)
        if match is None:
            raise self._refused(f"it has no step {step!r}")
        old, new = (_WORDS.get(word, word) for word in (match["old"], match["new"]))
        return partial(_replaced, old=old, new=new)

    def _refused(self, what: str) -> ConfigurationError:
        return ConfigurationError(
            what,
            where=f"--caption-template {self._text!r}",
            remedy='write such as "a {label} painting", or {label, _ as space, lower}',
        )


def _replaced(text: str, *, old: str, new: str) -> str:
    return text.replace(old, new)
