"""What each image is of, for models that are told: its caption or its class label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import xxhash

from dtrak_stream.data.captions import CaptionReader, caption_reader
from dtrak_stream.data.class_labels import LabelReader, label_reader
from dtrak_stream.data.condition_options import ConditionOptions
from dtrak_stream.data.samples import CheckLabels, Condition, ConditionKind
from dtrak_stream.data.source import Source
from dtrak_stream.errors import ConfigurationError, InputError, first_few
from dtrak_stream.support.progress import progress
from dtrak_stream.support.unused_options import without_unused

Reader: TypeAlias = CaptionReader | LabelReader

_OF_CAPTIONS = ("caption_column", "caption_template", "drop_captions", "missing_captions")
_OF_LABELS = ("label_column", "class_names")
_ROWS_AT_A_TIME = 2**12
_NAMED_AT_MOST = 3


class Conditions:
    """Captions or labels of some rows of a source, read when they are asked for.

    Parameters
    ----------
    source
        The images.
    rows
        Which rows of it are meant.
    reader
        Reads what each of them is of.
    where
        The source, for messages.
    check
        Refuses labels that the model does not know; None where any will do.

    Attributes
    ----------
    class_names
        Of labels that stand for names, the names in the order of the labels.
    """

    def __init__(
        self,
        source: Source,
        rows: range,
        reader: Reader,
        where: str,
        check: CheckLabels | None = None,
    ) -> None:
        self.class_names = reader.class_names
        self._source = source
        self._rows = rows
        self._reader = reader
        self._where = where
        self._check = check
        self._identity: str | None = None
        self._replaced = 0

    def read(self, start: int, stop: int) -> list[Condition]:
        """Return what images [start, stop) are of.

        Raises
        ------
        InputError
            If one of them has none, or what cannot be one.
        """
        rows = self._rows[start:stop]
        usual = self._reader.missing
        found = [usual if value is None else value for value in self._found(rows)]
        missing = [row for row, value in zip(rows, found, strict=True) if value is None]
        if missing:
            raise self._refused(missing, len(missing))
        return [value for value in found if value is not None]

    def identity(self, *, visible: bool) -> str:
        """Read all of them, once, and return a hash: 32 hexadecimal digits.

        Raises
        ------
        InputError
            Saying how many images have none, or one that the model does not know, with the names
            of the first.
        """
        if self._identity is None:
            self._identity = self._hash(visible)
        return self._identity

    @property
    def kind(self) -> ConditionKind:
        """Return what they are."""
        return self._reader.kind

    def told(self) -> str:
        """Return a line that says what they are taken from, and of how many images.

        How many are told `--missing-captions` is known once all have been read.
        """
        line = f"{self._reader.kind}s: {self._reader.told(len(self._rows) - self._replaced)}"
        ending = f", {self._reader.missing!r} for {self._replaced:,} without"
        return line + ending * bool(self._replaced)

    def _hash(self, visible: bool) -> str:
        digest = xxhash.xxh3_128(self._reader.kind.encode())
        missing, unknown = _Rows(), _Rows()
        what = f"reading {self._reader.kind}s"
        with progress(len(self._rows), description=what, unit="image", visible=visible) as bar:
            for first in range(0, len(self._rows), _ROWS_AT_A_TIME):
                rows = self._rows[first : first + _ROWS_AT_A_TIME]
                found = self._found(rows)
                self._look_for_unknown(rows, found, unknown)
                for row, value in zip(rows, found, strict=True):
                    if value is None:
                        missing.add(row)
                    content = str(value).encode()
                    digest.update(len(content).to_bytes(8, "little") + content)
                bar.update(len(rows))
        if missing.count and self._reader.missing is None:
            raise self._refused(missing.first, missing.count)
        if unknown.count:
            raise self._refused_as_unknown(unknown)
        self._replaced = missing.count
        digest.update(repr(self._reader.missing if missing.count else None).encode())
        return digest.hexdigest()

    def _look_for_unknown(
        self, rows: range, found: Sequence[Condition | None], unknown: _Rows
    ) -> None:
        """Note rows whose labels the model does not know."""
        if self._check is None:
            return
        there = [(row, value) for row, value in zip(rows, found, strict=True) if value is not None]
        if _problem(self._check, [value for _, value in there]) is None:
            return
        for row, value in there:
            problem = _problem(self._check, [value])
            if problem is not None:
                unknown.add(row, problem)

    def _found(self, rows: range) -> Sequence[Condition | None]:
        return self._reader.read(rows.start, rows.stop) if rows else []

    def _refused(self, missing: Sequence[int], count: int) -> InputError:
        return InputError(
            f"{_images(count)} no {self._reader.kind} in {self._reader.taken} "
            f"({self._named(missing, count)})",
            where=self._where,
            remedy=self._reader.remedy,
        )

    def _refused_as_unknown(self, unknown: _Rows) -> InputError:
        assert unknown.problem is not None
        named = self._named(unknown.first, unknown.count)
        return InputError(
            f"{_images(unknown.count)} a {self._reader.kind} in {self._reader.taken} that the "
            f"model does not know ({named}): {unknown.problem.what}",
            where=self._where,
            remedy=unknown.problem.remedy,
        )

    def _named(self, rows: Sequence[int], count: int) -> str:
        names = [self._source.sample_ids(row, row + 1)[0] for row in rows[:_NAMED_AT_MOST]]
        return first_few(names, count=count)


@dataclass
class _Rows:
    """How many rows there is something to be said against, and which are the first."""

    count: int = 0
    first: list[int] = field(default_factory=list)
    problem: ConfigurationError | None = None

    def add(self, row: int, problem: ConfigurationError | None = None) -> None:
        """Count one more; what is said of the first is kept."""
        self.count += 1
        self.problem = self.problem or problem
        if len(self.first) < _NAMED_AT_MOST:
            self.first.append(row)


def _problem(check: CheckLabels, labels: Sequence[Condition]) -> ConfigurationError | None:
    try:
        check(labels)
    except ConfigurationError as problem:
        return problem
    return None


def _images(count: int) -> str:
    return "1 image has" if count == 1 else f"{count:,} images have"


def open_conditions(
    source: Source,
    rows: range,
    kind: ConditionKind,
    options: ConditionOptions,
    *,
    where: str,
    visible: bool,
    check: CheckLabels | None = None,
) -> Conditions | None:
    """Find out where captions or labels are; None if nothing is wanted.

    Raises
    ------
    InputError
        If there are none, or they could be in several columns, or an option names no column.
    """
    if kind == "nothing":
        return None
    if kind == "caption":
        reader: Reader = caption_reader(source, options, where=where, visible=visible)
    else:
        reader = label_reader(source, options, where=where, visible=visible)
    return Conditions(source, rows, reader, where, check)


def used_conditions(options: ConditionOptions, kind: ConditionKind) -> ConditionOptions:
    """Return the options without those that such a model has no use for; say which those are."""
    if kind == "nothing":
        why = "what is computed depends on no caption or label"
        return without_unused(options, [*_OF_CAPTIONS, *_OF_LABELS], why)
    if kind == "class label":
        return without_unused(options, _OF_CAPTIONS, "the model is told class labels, no captions")
    if options.caption_template is None:
        return without_unused(options, _OF_LABELS, "the model is told captions, no class labels")
    return options
