"""Options from a command line and from YAML files, as the configuration dataclasses say."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_type_hints

import tyro
import yaml

from dtrak_stream.errors import ConfigurationError, InputError
from dtrak_stream.support.obstacles import refuse_unavailable
from dtrak_stream.support.option_values import (
    MAY_BE_EMPTY,
    REPEATABLE,
    refuse_empty,
    refuse_immense,
)
from dtrak_stream.support.provenance import RECORD_KEY, flat_options

_CONFIG_HELP = (
    "Every option may also stand in a YAML file (`option-name: value`), given with "
    "--config FILE.yaml; flags on the command line win. The config.yaml that a run writes is "
    "such a file."
)

_ON, _OFF = {"true", "yes", "on"}, {"false", "no", "off"}
_FRAME, _TITLE = "─│╭╮╰╯ ", "╭"

Config = TypeVar("Config")


def parse(
    config_type: type[Config], arguments: Sequence[str], *, program: str | None = None
) -> Config:
    """Turn a command line, with any `--config FILE.yaml` expanded, into a configuration.

    Raises
    ------
    InputError
        If the YAML file is missing or is not a mapping of options.
    ConfigurationError
        If there is no such option, or it cannot have such a value.
    """
    switches, repeatable = _flags(config_type, _is_switch), _flags(config_type, _is_repeatable)
    expanded, files = _expand_config(arguments, switches, repeatable)
    refuse_empty(expanded, _flags(config_type, _may_be_empty))
    config = _parsed(config_type, expanded, files, program)
    refuse_immense(flat_options(config))
    return config


def _parsed(
    config_type: type[Config], words: Sequence[str], files: Sequence[Path], program: str | None
) -> Config:
    description = f"{config_type.__doc__ or ''}\n\n{_CONFIG_HELP}"
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(config_type, args=words, description=description, prog=program)
    except SystemExit as stop:
        if not stop.code:
            raise  # --help
        _refuse(complaint.getvalue(), files)


def _refuse(complaint: str, files: Sequence[Path]) -> NoReturn:
    """Say in one line what the parser said in a framed box."""
    lines = [line.strip(_FRAME) for line in complaint.splitlines() if line[:1] != _TITLE]
    words = " ".join(line for line in lines if line)
    for asides in ("Argument helptext:", "For full helptext"):
        words = words.partition(asides)[0].strip(" .")
    where = " or ".join(["command line", *(f"--config {path}" for path in files)])
    raise ConfigurationError(words, where=where, remedy="run with --help for all options")


def _flags(config_type: type, is_meant: Callable[[dataclasses.Field[Any], Any], bool]) -> set[str]:
    """Return the flags of the options that are meant, in groups of options too.

    Parameters
    ----------
    config_type
        A dataclass of options, and of groups of them.
    is_meant
        (option, its type) -> whether it is.
    """
    kinds = get_type_hints(config_type)
    flags: set[str] = set()
    for field in dataclasses.fields(config_type):
        kind = kinds[field.name]
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            flags |= _flags(kind, is_meant)
        elif is_meant(field, kind):
            flags.add("--" + field.name.replace("_", "-"))
    return flags


def _is_switch(_option: dataclasses.Field[Any], kind: Any) -> bool:
    """Return whether an option is either on or off."""
    return kind is bool


def _may_be_empty(option: dataclasses.Field[Any], _kind: Any) -> bool:
    """Return whether an option is an empty text by default, or says that it may be."""
    return option.default == "" or option.metadata == MAY_BE_EMPTY


def _is_repeatable(option: dataclasses.Field[Any], _kind: Any) -> bool:
    """Return whether an option may be given several times."""
    return bool(option.metadata == REPEATABLE)


def _expand_config(
    arguments: Sequence[str], switches: set[str], repeatable: set[str]
) -> tuple[list[str], Sequence[Path]]:
    """Replace `--config FILE` by the options in FILE, placed first so that flags override them.

    Returns
    -------
    arguments, files
        All options, and the files that some of them stand in.
    """
    files: list[Path] = []
    from_file: list[str] = []
    from_flags: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        name, separator, value = argument.partition("=")
        if name != "--config":
            from_flags.append(argument)
        else:
            files.append(Path(value if separator else next(waiting, "")))
            for option, setting in _options_in(files[-1]).items():
                from_file += _tokens(str(option).replace("_", "-"), setting, switches)
    return from_file + _joined_repeats(from_flags, repeatable), files


def _joined_repeats(words: Sequence[str], repeatable: set[str]) -> list[str]:
    """Bring the values of a flag that is given several times behind its first one."""
    others: list[str] = []
    values: dict[str, list[str]] = {}
    given = others
    for word in words:
        name, separator, value = word.partition("=")
        flag = name.replace("_", "-")
        if word.startswith("--") and flag in repeatable:
            given = values.setdefault(flag, [])
            given += [value] if separator else []
        else:
            given = others if word.startswith("--") else given
            given.append(word)
    return others + [word for flag, each in values.items() for word in (flag, *each)]


class _PlainLoader(yaml.SafeLoader):
    """Reads scalars as they are written: whether `no` is a word or a switch, the option says."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return a mapping whose keys stand once each, or refuse it."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"{key} stands there twice")
        return super().construct_mapping(node, deep)


_PlainLoader.yaml_implicit_resolvers = {
    letter: [rule for rule in rules if rule[0] == "tag:yaml.org,2002:null"]
    for letter, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _options_in(path: Path) -> dict[str, Any]:
    try:
        options = yaml.load(path.read_text(), _PlainLoader)
    except OSError as error:
        refuse_unavailable(f"--config {path}", error)
        raise InputError(
            f"cannot read the configuration ({error.strerror})",
            where=f"--config {path}",
            remedy="give an existing YAML file",
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(
            f"not YAML ({' '.join(str(error).split())})",
            where=f"--config {path}",
            remedy="write one `option-name: value` a line",
        ) from error
    if not isinstance(options, dict):
        raise InputError(
            "not a mapping of options",
            where=f"--config {path}",
            remedy="write one `option-name: value` a line",
        )
    return options


def _tokens(flag: str, value: Any, switches: set[str]) -> list[str]:
    if flag == RECORD_KEY or value is None:
        return []
    if f"--{flag}" in switches and str(value).lower() in _ON | _OFF:
        return [f"--{flag}" if str(value).lower() in _ON else f"--no-{flag}"]
    if isinstance(value, list):
        return [f"--{flag}", *map(str, value)]
    return [f"--{flag}={value}"]  # one word, since a value may begin with a dash
