"""Several sets of queries in one run: each has a folder, and all share the training features."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, NoReturn

import xxhash
import yaml

from dtrak_stream.attribution.configuration import AttributeConfig
from dtrak_stream.data.named_source import split_name
from dtrak_stream.data.source import unreadable
from dtrak_stream.errors import FingerprintMismatchError
from dtrak_stream.support.progress import say

_LONGEST = 40


class OtherQueriesError(FingerprintMismatchError):
    """The queries of a run are other ones than those that were asked for."""


def query_folder(run: Path, name: str) -> Path:
    """Return where a set of queries has its features, scores and report: one without name in
    the run folder itself.
    """
    return run / "queries" / name if name else run


def record_of(config: AttributeConfig) -> Path:
    """Return the file that keeps the options a set of queries was attributed with."""
    name, _ = split_name(config.query)
    return query_folder(config.run, name) / "config.yaml"


def refuse_other_images(refusal: FingerprintMismatchError) -> NoReturn:
    """Raise a refusal of the stores of the queries again, with what to do about other images.

    Raises
    ------
    OtherQueriesError
        If the images are what differs.
    FingerprintMismatchError
        What was given, otherwise.
    """
    if refusal.field not in ("images", "samples"):
        raise refusal
    raise OtherQueriesError(
        refusal.field,
        refusal.stored,
        refusal.requested,
        where=refusal.where,
        remedy="write --query NAME=SRC to keep them beside these, in queries/NAME of the run, with "
        "the same training features",
        note=refusal.note,
    ) from refusal


def as_a_set_of_their_own(config: AttributeConfig, refusal: OtherQueriesError) -> AttributeConfig:
    """Return the configuration with a name for queries that are not those of the run.

    The name is made of the source and of a hash of it, so that the same command finds them again.

    Parameters
    ----------
    config
        What was asked for.
    refusal
        What the run said to them.

    Raises
    ------
    OtherQueriesError
        That refusal, where the source is the one the run was begun with, so that its images have
        changed, where that is not known, or where the queries have a name.
    """
    name, source = split_name(config.query)
    asked = {
        "query": source,
        "query-limit": config.query_limit,
        "query-split": config.query_split,
    }
    options, recorded = config.query_image_options, _recorded(record_of(config))
    rows = None if options.query_rows is None else str(options.query_rows)
    picked = {"query-where": list(options.query_where) or None, "query-rows": rows}
    if name or recorded is None or _is_recorded(recorded, asked | picked):
        raise refusal
    name = _name_of(source, (*asked.values(), *filter(None, picked.values())))
    say(
        f"other queries than those of {config.run}: kept in {query_folder(config.run, name)}, "
        "with the same training features; --query NAME=SRC names them"
    )
    return dataclasses.replace(config, query=f"{name}={source}")


def _recorded(path: Path) -> dict[str, Any] | None:
    """Return the options that a run was begun with; None if that is not known."""
    try:
        options = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, yaml.YAMLError):
        return None
    return options if isinstance(options, dict) and "query" in options else None


def _is_recorded(recorded: dict[str, Any], asked: dict[str, Any]) -> bool:
    found = {key: recorded.get(key) for key in asked}
    return asked == found | {"query-where": found["query-where"] or None}


def _name_of(source: str, asked: tuple[object, ...]) -> str:
    words = re.sub(r"[^A-Za-z0-9]+", "_", source).strip("_")[-_LONGEST:]
    return f"q_{words}_{xxhash.xxh3_64_hexdigest(repr(asked).encode())[:6]}"
