"""A report that is written only where something it is made from has changed."""

from __future__ import annotations

from dtrak_stream.data.source_stamp import SourceStamps
from dtrak_stream.report.made_from import is_unchanged
from dtrak_stream.report.options import KnownImages, ReportConfig, ReportResult, nothing_known
from dtrak_stream.report.places import PAGE_NAME
from dtrak_stream.support.claims import alone_with, remove_dead_claim
from dtrak_stream.support.progress import say


def update_report(
    config: ReportConfig,
    *,
    known: KnownImages = nothing_known,
    stamps: SourceStamps | None = None,
    anew: bool = False,
) -> ReportResult:
    """Write the report, unless it is there and nothing that it is made from changed.

    Of several calls at once, one writes and the others wait for it; raises as `write_report`.

    Parameters
    ----------
    config
        The scores, the sources of their images, and what to show.
    known
        What is known of the images; see `write_report`.
    stamps
        What sources looked like when the run began, by which a report that is there is judged.
    anew
        Write it in any case.
    """
    page = config.out / PAGE_NAME
    if anew:
        return _write(config, known)
    if not is_unchanged(config, stamps):
        with alone_with(page):
            if not is_unchanged(config):  # by whoever was waited for
                return _write(config, known)
    remove_dead_claim(page)
    say(f"{page}: already complete")
    return ReportResult(page)


def _write(config: ReportConfig, known: KnownImages) -> ReportResult:
    from dtrak_stream.report.write import write_report  # what draws takes long to load

    return write_report(config, known)
