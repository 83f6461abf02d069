"""Captions of the images of a source: a column of text, a template, or none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from dtrak_stream.data.caption_template import CaptionTemplate
from dtrak_stream.data.class_labels import label_reader
from dtrak_stream.data.column_values import Texts, chosen_column, texts_of, told_of, values_of
from dtrak_stream.data.condition_options import ConditionOptions
from dtrak_stream.data.source import Source
from dtrak_stream.errors import InputError

_USUAL = frozenset({"text", "caption", "prompt", "txt", ".txt"})
_FLAG = "--caption-column"
_TEMPLATE_FLAG = "--caption-template"
_LABEL = "label"


@dataclass(frozen=True)
class CaptionReader:
    """Reads the captions of rows of a source.

    Attributes
    ----------
    texts
        Returns those of rows [start, stop), None for a missing one.
    taken
        What they are taken from.
    missing
        What stands for a missing one, if anything does.
    """

    texts: Texts
    taken: str
    missing: str | None = None
    kind: ClassVar[Literal["caption"]] = "caption"
    class_names: ClassVar[None] = None
    remedy: ClassVar[str] = (
        "write them, say what such images are to be told with --missing-captions TEXT, or use "
        f"{_FLAG}, {_TEMPLATE_FLAG} or --drop-captions"
    )

    def read(self, start: int, stop: int) -> list[str | None]:
        """Return the captions of rows [start, stop) of the source; None for a missing one."""
        return self.texts(start, stop)

    def told(self, count: int) -> str:
        """Return what the captions of so many images are taken from."""
        return f"{self.taken} ({count:,})"


def caption_reader(
    source: Source, options: ConditionOptions, *, where: str, visible: bool
) -> CaptionReader:
    """Find out where the captions of a source are; parameters are those of `label_reader`.

    Raises
    ------
    InputError
        If there are none, or several columns may be meant, or there is no such column.
    """
    if options.drop_captions:
        return CaptionReader(lambda start, stop: [""] * (stop - start), "all dropped")
    if options.caption_template is not None:
        texts = _filled(source, options, where=where, visible=visible)
        return CaptionReader(texts, f'"{options.caption_template}"', options.missing_captions)
    name = options.caption_column or _usual_column(source, where)
    texts = _column(source, name, _FLAG)
    return CaptionReader(texts, told_of(source, name), options.missing_captions)


def _column(source: Source, name: str, flag: str) -> Texts:
    values = values_of(source, name, flag)
    return texts_of(values, what="caption", where=f"{flag} {name}")


def _usual_column(source: Source, where: str) -> str:
    columns = source.columns()
    texts = [name for name, column in columns.items() if column.kind == "text"]
    usual = [name for name in texts if name.lower() in _USUAL]
    inner = [name for name in texts if name.lower().rpartition(".")[2] in _USUAL]
    found = chosen_column(source, (usual, inner, texts), what="caption", flag=_FLAG, where=where)
    if found is None:
        there = ", ".join(columns) or "no columns"
        raise InputError(
            f"the model is told captions, and none are found (it has {there})",
            where=where,
            remedy=f"name a column with {_FLAG}, write text in metadata.jsonl beside file_name or "
            f'00001.txt beside 00001.jpg, use {_TEMPLATE_FLAG} "a {{label}} painting", or '
            "--drop-captions",
        )
    return found


def _filled(source: Source, options: ConditionOptions, *, where: str, visible: bool) -> Texts:
    assert options.caption_template is not None
    template = CaptionTemplate(options.caption_template)
    parts: dict[str, Texts] = {}
    for name in template.names:
        if name == _LABEL:
            labels = label_reader(source, options, where=where, visible=visible, names_alone=True)
            parts[name] = labels.names
        else:
            parts[name] = _column(source, name, _TEMPLATE_FLAG)

    def texts(start: int, stop: int) -> list[str | None]:
        columns = [parts[name](start, stop) for name in template.names]
        rows = zip(*columns, strict=True) if columns else [()] * (stop - start)
        return [_caption(template, row) for row in rows]

    return texts


def _caption(template: CaptionTemplate, row: tuple[str | None, ...]) -> str | None:
    values = {name: text for name, text in zip(template.names, row, strict=True) if text}
    return template.filled(values) if len(values) == len(row) else None
