"""Opening a source, of whichever kind it is."""

from __future__ import annotations

from dtrak_stream.data.kinds import KINDS
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.places import SourceRequest, locate
from dtrak_stream.data.selected import select
from dtrak_stream.data.source import Source
from dtrak_stream.support.late_imports import imported


def open_source(body: str, options: ImageOptions, *, visible: bool) -> Source:
    """Open the source that `body` (without a slice) names.

    Raises
    ------
    InputError
        If it is missing, unreadable, ambiguous or of no known kind, has no such split, or not the
        rows that the options pick.
    """
    place = locate(body).of(options.split)
    request = SourceRequest(place, options, visible)
    source: Source = imported(KINDS[place.kind].place)(request)
    return select(source, options, body)
