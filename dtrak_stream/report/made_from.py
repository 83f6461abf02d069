"""What a report was made from, kept with it: while nothing of that changed, it is not made again.

OUT/made_from.json holds a hash of the options, the stamp of the files that the report shows or is
made by (scores, records of the run, images, this package itself), and the stamp of its own files.
It saves drawing the same pictures again, and decides nothing: where it is missing, or anything
differs, the report is made as if there were none.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from dtrak_stream.data.source_stamp import SourceStamps
from dtrak_stream.errors import DiskFullError
from dtrak_stream.report.equal_images import equal_lists_beside
from dtrak_stream.report.options import ReportConfig
from dtrak_stream.report.places import GRID_FOLDER, GRIDS, MADE_FROM_NAME, PAGE_NAME
from dtrak_stream.support.durable import write_json
from dtrak_stream.support.provenance import flat_options
from dtrak_stream.support.stamps import Stamp, Stamping, stamp_files, stamp_package


@dataclass(frozen=True)
class MadeFrom:
    """What a report is made from, as far as it shows without reading any of it.

    Attributes
    ----------
    options
        Hash of everything the user chose.
    files
        Stamp of what is read for it.
    """

    options: str
    files: Stamp

    def settle(self) -> bool:
        """Wait until any change would show; return whether that can be had. See `Stamp`."""
        return self.files.settle()


def made_from(config: ReportConfig, stamps: SourceStamps | None = None) -> MadeFrom | None:
    """Return what a report would be made from; None if there is something that does not show.

    Parameters
    ----------
    config
        The report.
    stamps
        What sources looked like at the moment that is meant; left out, it is now.

    Raises
    ------
    InputError
        If there is no such source of images.
    """
    stamping, stamps = Stamping(), stamps or SourceStamps()
    try:
        stamp_package(stamping, ".py", ".j2")
        stamping.file(config.scores)
        for beside in (*records_beside(config.scores), *equal_lists_beside(config.scores)):
            stamping.file(beside)
        sources = ((config.train, config.images), (config.query, config.query_images))
        found = [stamps.of(source, options) for source, options in sources]
    except OSError:
        return None  # whoever opens it says what is wrong with it
    for stamp in found:
        if stamp is None:
            return None
        stamping.stamped(stamp)
    return MadeFrom(_hash_of_options(config), stamping.stamp())


def records_beside(scores: Path) -> list[Path]:
    """Return the configuration files of the run that lie beside its scores."""
    names = dict.fromkeys(("config.yaml", scores.with_suffix(".config.yaml").name))
    return [path for path in map(scores.with_name, names) if path.is_file()]


def is_unchanged(config: ReportConfig, stamps: SourceStamps | None = None) -> bool:
    """Return whether the report is there, and neither it nor what it was made from changed.

    Where `stamps` are given, sources count as they looked then.
    """
    try:
        kept = json.loads((config.out / MADE_FROM_NAME).read_text())
    except (OSError, ValueError):
        return False
    made, report = made_from(config, stamps), _stamp_report(config.out)
    return made is not None and report is not None and kept == _record(made, report)


def keep_made_from(config: ReportConfig, made: MadeFrom) -> None:
    """Note that the report that was just written is made from `made`, if that holds still.

    That it cannot be noted is no failure: the report is made again then.
    """
    report = _stamp_report(config.out)
    if report is None or not report.settle() or made_from(config) != made:
        return
    with contextlib.suppress(OSError, DiskFullError):
        write_json(config.out / MADE_FROM_NAME, _record(made, report))


def _record(made: MadeFrom, report: Stamp) -> dict[str, Any]:
    return {"options": made.options, "files": made.files.record(), "report": report.record()}


def _stamp_report(out: Path) -> Stamp | None:
    """Return the stamp of the page and its grids; None if there is no page."""
    return stamp_files([out / PAGE_NAME, *(out / GRID_FOLDER).glob(GRIDS)])


def _hash_of_options(config: ReportConfig) -> str:
    chosen = flat_options(config)
    del chosen["quiet"]
    return xxhash.xxh3_128_hexdigest(json.dumps(chosen, sort_keys=True).encode())
