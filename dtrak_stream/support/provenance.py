"""What a run was: its resolved options, the versions it ran with, the revision of this code."""

from __future__ import annotations

import dataclasses
import functools
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from dtrak_stream.errors import refuse_differences
from dtrak_stream.support.claims import alone_with
from dtrak_stream.support.destinations import FileKind, can_be_written
from dtrak_stream.support.durable import remove_partials_of, write_bytes
from dtrak_stream.support.option_values import REPEATABLE

RECORD_KEY = "provenance"
_OF_ONE_CALL = {"quiet", "rehash", "redo-corrupt", "workers", "devices", "scheduler"}
_PACKAGES = (
    "dtrak-stream",
    "torch",
    "diffusers",
    "h5py",
    "dask",
    "numpy",
    "scipy",
    "safetensors",
    "pillow",
    "datasets",
)


def record_run(path: Path, config: Any) -> None:
    """Write the resolved `config` (a dataclass) to `path` as YAML that `--config` reads back.

    A file that holds just that is left as it is, and so is one of the same options where it
    cannot be written.

    Raises
    ------
    InputError
        If there is a file that is no such record.
    """
    options = flat_options(config)
    kept = _recorded(path) == options
    RECORD.refuse_other(path, flag="that of the result it belongs to", kept=kept)
    if kept and not can_be_written(path.parent):
        return
    content = yaml.safe_dump({**options, RECORD_KEY: provenance()}, sort_keys=False).encode()
    remove_partials_of(path)
    if not (path.is_file() and path.read_bytes() == content):
        write_bytes(path, content)


def record_first(path: Path, config: Any) -> None:
    """Write the record of a run that is just begun, unless another process begins it just now.

    Raises
    ------
    FingerprintMismatchError
        If another process was faster, with other options.
    InputError
        As `record_run`.
    """
    with alone_with(path):
        if not path.exists():
            record_run(path, config)
    stored, requested = _recorded(path) or {}, flat_options(config)
    differing = [name for name in {**stored, **requested} if name not in _OF_ONE_CALL]
    refuse_differences(
        ((name, stored.get(name), requested.get(name)) for name in differing),
        where=path,
        remedy="another process began this run just now: run the same command again to see "
        "whether it can share its work, or give another --run",
    )


def _recorded(path: Path) -> dict[str, Any] | None:
    """Return the options in a record; None if there is no record."""
    if not (path.is_file() and _is_record(path)):
        return None
    return {k: v for k, v in yaml.safe_load(path.read_text()).items() if k != RECORD_KEY}


def _is_record(path: Path) -> bool:
    try:
        record = yaml.safe_load(path.read_text())
    except (UnicodeDecodeError, yaml.YAMLError):
        return False
    return isinstance(record, dict) and isinstance(record.get(RECORD_KEY), dict)


RECORD = FileKind("the record of a run", "dtrak-stream", _is_record)


def flat_options(config: Any) -> dict[str, Any]:
    """Return every option of a (nested) configuration dataclass by its flag name, unset ones out.

    Groups of options are flattened, as they are on the command line.
    """
    options: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            options |= flat_options(value)
        elif value is not None and (value or field.metadata != REPEATABLE):
            options[field.name.replace("_", "-")] = _plain(value)
    return options


def provenance() -> dict[str, Any]:
    """Return package versions, Python version and git revision of the running code."""
    return {
        "python": platform.python_version(),
        "git-revision": _revision(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


@functools.cache
def _revision() -> str | None:
    """Return the revision when it was first asked for: the code that runs stays what it was."""
    return git_revision()


def git_revision() -> str | None:
    """Return the commit this code was run from (with `-dirty` if edited), None outside git.

    Code that is installed inside somebody else's repository has no revision: it is not theirs.
    """
    if not _git("ls-files", "--error-unmatch", Path(__file__).name):
        return None
    return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(*arguments: str) -> str | None:
    """Return what git says of the folder of this code; None if it fails."""
    command = ["git", *arguments]
    try:
        answer = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


@functools.cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
