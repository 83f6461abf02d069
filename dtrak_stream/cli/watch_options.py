"""Options that every command has besides its own: files by which other programs watch it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import tyro

import dtrak_stream
from dtrak_stream.errors import ConfigurationError, InputError
from dtrak_stream.support.configuration import parse
from dtrak_stream.support.durable import target_of
from dtrak_stream.support.option_values import folders_taken
from dtrak_stream.support.progress import heard_by
from dtrak_stream.support.shown_file import is_shown
from dtrak_stream.support.watching import LOG, STATUS, Ending, Forgiving, JsonLog, StatusFile

_GROUP = "watch"

Config = TypeVar("Config")


@dataclass(frozen=True)
class WatchOptions:
    """How other programs can watch a command.

    They are no part of what a run is: its config.yaml does not hold them.
    """

    status: Path | None = None
    """File that holds one line at any time: how far the command is (stage, count, rate, time \
left), and in the end how it ended. Each command that runs needs one of its own."""
    log_json: Path | None = None
    """File that gets a JSON object a line: begin, remarks, progress and end, each with its time. \
Goes on at the end of a log that is there."""

    def refuse_folders_of(self, config: Any) -> None:
        """Refuse files in folders that the command is to begin, which must be empty for it.

        Raises
        ------
        ConfigurationError
            Naming the file and the folder.
        """
        for flag, file in (("--status", self.status), ("--log-json", self.log_json)):
            for option, folder in folders_taken(config):
                if file is not None and _lies_in(file, folder) and _is_unused(folder):
                    raise ConfigurationError(
                        f"lies in {folder}, which {option} is to begin as a new or empty folder",
                        where=f"{flag} {file}",
                        remedy="give a place outside of it",
                    )

    def refuse_other_files(self) -> None:
        """Refuse files that are there and are none of these.

        Raises
        ------
        InputError
            Naming what is there instead, or that another command writes it.
        ConfigurationError
            If both are the same file.
        """
        if self.status is not None:
            STATUS.refuse_other(self.status, flag="--status")
            if is_shown(self.status):
                raise InputError(
                    "another command that runs writes it",
                    where=f"--status {self.status}",
                    remedy="give each command a file of its own",
                )
        if self.log_json is not None:
            if self.status is not None and target_of(self.log_json) == target_of(self.status):
                raise ConfigurationError(
                    "is also that of --status",
                    where=f"--log-json {self.log_json}",
                    remedy="give each a file of its own",
                )
            LOG.refuse_other(self.log_json, flag="--log-json")


def parse_watched(
    config_type: type[Config], arguments: Sequence[str], *, program: str | None
) -> tuple[Config, WatchOptions]:
    """Turn a command line into a configuration and what every command has; raises as `parse`."""
    option = (
        _GROUP,
        tyro.conf.OmitArgPrefixes[WatchOptions],
        field(default_factory=WatchOptions),
    )
    both: type[Any] = dataclasses.make_dataclass(
        config_type.__name__, [option], bases=(config_type,), frozen=True
    )
    both.__doc__ = config_type.__doc__
    parsed = parse(both, arguments, program=program)
    names = [each.name for each in dataclasses.fields(config_type)]  # type: ignore[arg-type]
    return config_type(**{name: getattr(parsed, name) for name in names}), getattr(parsed, _GROUP)


class Watched:
    """A command that other programs may watch.

    Parameters
    ----------
    command
        What it is called in what they read.
    """

    def __init__(self, command: str) -> None:
        self._command = command
        self._watchers: list[Forgiving] = []
        self._heard = ExitStack()

    def begin(self, options: WatchOptions, config: Any) -> None:
        """Let the files tell that the command is begun, and hear all it tells from now on.

        Raises
        ------
        InputError
            If there is another file where one is to be.
        ConfigurationError
            If both files are one, or lie where this configuration needs an empty folder.
        """
        options.refuse_folders_of(config)
        options.refuse_other_files()
        if options.status is not None:
            self._watch(StatusFile(options.status, self._command), "--status")
        if options.log_json is not None:
            log = JsonLog(options.log_json, self._command, dtrak_stream.__version__)
            self._watch(log, "--log-json")

    def end(self, ending: Ending) -> None:
        """Let the files tell how it ended."""
        self._heard.close()
        for watcher in self._watchers:
            watcher.ended(ending)

    def _watch(self, watcher: StatusFile | JsonLog, flag: str) -> None:
        forgiving = Forgiving(watcher, flag)
        self._watchers.append(forgiving)
        self._heard.enter_context(heard_by(forgiving))


def _lies_in(file: Path, folder: Path) -> bool:
    return Path(os.path.realpath(file)).is_relative_to(os.path.realpath(folder))


def _is_unused(folder: Path) -> bool:
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
