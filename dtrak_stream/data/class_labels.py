"""Class labels of the images of a source, as numbers, and the names they stand for."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from dtrak_stream.data.column_values import Texts, chosen_column, texts_of, told_of, values_of
from dtrak_stream.data.columns import FOLDER_COLUMN, Column
from dtrak_stream.data.condition_options import ConditionOptions
from dtrak_stream.data.selected import whole_of
from dtrak_stream.data.source import Source, unreadable
from dtrak_stream.errors import ConfigurationError, InputError, first_few
from dtrak_stream.support.progress import progress

_FLAG = "--label-column"
_USUAL = frozenset(
    {
        *("label", "labels", "class", "classes", "class_label", "class_id", "cls", "target"),
        *("targets", "fine_label", "coarse_label"),
    }
)
_ROWS_AT_A_TIME = 2**14
_MOST_CLASSES = 2**16
_LARGEST = 2**63 - 1
_LISTED_FILE = ".txt"
_NUMBER = re.compile(r"-?\d{1,18}")


@dataclass(frozen=True)
class LabelReader:
    """Reads the class labels of rows of a source.

    Attributes
    ----------
    texts
        Returns the labels of rows [start, stop) as they are written, None for a missing one.
    taken
        What they are taken from.
    class_names
        Names of the classes in the order of their labels; None if there are numbers only.
    named
        Whether names are written, not numbers.
    where
        The column, for messages.
    """

    texts: Texts
    taken: str
    class_names: tuple[str, ...] | None
    named: bool
    where: str
    kind: ClassVar[Literal["class label"]] = "class label"
    missing: ClassVar[None] = None
    remedy: ClassVar[str] = f"give them one, or name another column with {_FLAG}"

    def __post_init__(self) -> None:
        numbers = {name: number for number, name in enumerate(self.class_names or ())}
        object.__setattr__(self, "_numbers", numbers)

    def read(self, start: int, stop: int) -> list[int | None]:
        """Return the labels of rows [start, stop) of the source; None for a missing one.

        Raises
        ------
        InputError
            If something is no whole number from 0, or none of the classes.
        """
        rows = enumerate(self.texts(start, stop), start=start)
        return [None if text is None else self._number(text, row) for row, text in rows]

    def names(self, start: int, stop: int) -> list[str | None]:
        """Return the names of their classes, or the numbers as texts if there are no names."""
        if self.class_names is None:
            return self.texts(start, stop)
        return [None if each is None else self._name(each) for each in self.read(start, stop)]

    def told(self, count: int) -> str:
        """Return what the labels of so many images are taken from, and what they stand for."""
        if self.class_names is None:
            return f"{self.taken} ({count:,})"
        last = len(self.class_names) - 1
        shown = [f"{self.class_names[number]} = {number}" for number in sorted({0, last})]
        return f"{self.taken} ({(', ' if last < 2 else ', ..., ').join(shown)})"

    def _number(self, text: str, row: int) -> int:
        if self.named:
            numbers: Mapping[str, int] = self._numbers  # type: ignore[attr-defined]
            if text in numbers:
                return numbers[text]
            problem = f"row {row} holds {text!r}, which is none of the {len(numbers):,} classes"
            raise InputError(problem, where=self.where, remedy="add it to --class-names")
        if not text.isdecimal() or int(text) > _LARGEST:
            raise InputError(
                f"row {row} holds {text!r}, which is no class label",
                where=self.where,
                remedy="give whole numbers from 0, or names only",
            )
        return int(text)

    def _name(self, number: int) -> str:
        assert self.class_names is not None
        if number < len(self.class_names):
            return self.class_names[number]
        raise InputError(
            f"there is a label {number}, and names of {len(self.class_names):,} classes",
            where="--class-names",
            remedy="name all classes",
        )


def label_reader(
    source: Source,
    options: ConditionOptions,
    *,
    where: str,
    visible: bool,
    names_alone: bool = False,
) -> LabelReader:
    """Find out where the labels of a source are.

    Parameters
    ----------
    source
        The images.
    options
        What was said about labels.
    where
        The source, for messages.
    visible
        Whether to show progress bars.
    names_alone
        Whether the numbers of classes do not matter, as in captions.

    Raises
    ------
    InputError
        If there are none, or several columns may be meant, or there is no such column.
    ConfigurationError
        If `class_names` names a class twice.
    """
    name = options.label_column or _usual_column(source, where)
    where = f"{_FLAG} {name}" if options.label_column else where
    texts = texts_of(values_of(source, name, _FLAG), what="class label", where=where)
    column = source.columns().get(name, Column("other"))
    given = _given_names(options.class_names)
    if column.kind == "number" or column.classes:
        names = given or column.classes or None
        return LabelReader(texts, told_of(source, name), names, bool(column.classes), where)
    whole = whole_of(source)  # a class has its number whether or not rows of it are picked
    every = texts_of(values_of(whole, name, _FLAG), what="class label", where=where)
    found = _distinct(every, len(whole), where, visible=visible)
    if name == FOLDER_COLUMN:
        texts, found = _class_folders(texts, found, options, where)
        is_named, taken = True, "class folders"
    else:
        is_named, taken = not all(map(str.isdecimal, found)), told_of(source, name)
    if is_named and given is None and not names_alone:
        _refuse_other_numbers(found, where, asked_for=options.label_column == FOLDER_COLUMN)
    names = given or (tuple(sorted(found)) if is_named else None)
    return LabelReader(texts, taken, names, is_named, where)


def listed_file(class_names: str | None) -> Path | None:
    """Return the file that `--class-names` names; None if it is the names themselves."""
    if class_names is None or not class_names.endswith(_LISTED_FILE):
        return None
    return Path(class_names)


def _usual_column(source: Source, where: str) -> str:
    columns = source.columns()
    likely = [name for name, column in columns.items() if column.kind not in ("name", "other")]
    classes = [name for name in likely if columns[name].kind == "class"]
    usual = [name for name in likely if name.lower() in _USUAL or name in classes]
    inner = [name for name in likely if name.lower().rpartition(".")[2] in _USUAL]
    folders = [FOLDER_COLUMN] if FOLDER_COLUMN in columns else []
    groups = (usual, inner, folders)
    found = chosen_column(source, groups, what="class label", flag=_FLAG, where=where)
    if found is None:
        raise _no_labels(where, f"it has {', '.join(columns) or 'no columns'}")
    return found


def _class_folders(
    texts: Texts, found: set[str], options: ConditionOptions, where: str
) -> tuple[Texts, set[str]]:
    """Return the names of classes for the folders that images lie in; see `label_reader`."""
    folders = found - {"."}
    parents = {posixpath.dirname(folder) for folder in folders}
    if not folders:
        raise _no_labels(where, "its images lie in no folders")
    if len(parents) > 1:
        if options.label_column is None:
            raise _no_labels(where, f"its folders lie in several others ({_some(parents)})")
        return _without_root(texts), folders
    names = {posixpath.basename(folder) for folder in folders}

    def classes(start: int, stop: int) -> list[str | None]:
        found = _without_root(texts)(start, stop)
        return [None if each is None else posixpath.basename(each) for each in found]

    return classes, names


def _without_root(texts: Texts) -> Texts:
    return lambda start, stop: [None if each == "." else each for each in texts(start, stop)]


def _refuse_other_numbers(names: set[str], where: str, *, asked_for: bool) -> None:
    """Refuse to call class 10 label 2, as sorting names does, unless it is asked for."""
    for label, name in enumerate(sorted(names)):
        if _NUMBER.fullmatch(name) and int(name) != label and not asked_for:
            raise InputError(
                f"classes are called by numbers, and sorted by name {name} is label {label}",
                where=where,
                remedy="give --class-names in the order of the model's labels, such as 0,1,2, or "
                f"{_FLAG} {FOLDER_COLUMN} if it was trained on the folders as ImageFolder has them",
            )


def _distinct(texts: Texts, count: int, where: str, *, visible: bool) -> set[str]:
    """Return all that are written in a column."""
    found = set[str]()
    with progress(count, description="reading labels", unit="image", visible=visible) as bar:
        for start in range(0, count, _ROWS_AT_A_TIME):
            stop = min(start + _ROWS_AT_A_TIME, count)
            found.update(text for text in texts(start, stop) if text is not None)
            bar.update(stop - start)
            if len(found) > _MOST_CLASSES:
                raise InputError(
                    f"has more than {_MOST_CLASSES:,} different labels ({_some(found)})",
                    where=where,
                    remedy=f"name a column of classes with {_FLAG}",
                )
    return found


def _given_names(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    path = listed_file(text)
    names = text.split(",") if path is None else _lines(path)
    stripped = [name.strip() for name in names if name.strip()]
    twice = [name for name in stripped if stripped.count(name) > 1]
    if twice:
        raise ConfigurationError(
            f"two classes are called {twice[0]!r}",
            where=f"--class-names {text}",
            remedy="name each once",
        )
    return tuple(stripped)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise InputError("is not UTF-8", where=path, remedy="save it as UTF-8") from error


def _no_labels(where: str, why: str) -> InputError:
    return InputError(
        f"no class labels are found ({why})",
        where=where,
        remedy=f"name a column with {_FLAG}, write label in metadata.jsonl beside file_name, or "
        "put the images of each class in a folder",
    )


def _some(names: set[str]) -> str:
    return first_few(sorted(name or "." for name in names))
