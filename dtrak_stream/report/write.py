"""From a scores file and its images to a report on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dtrak_stream.data.images import Images, open_images
from dtrak_stream.data.options import ImageOptions, ImageShape
from dtrak_stream.data.spec import require_limit
from dtrak_stream.groups.lists import GroupLists
from dtrak_stream.report.cards import Card, CardMaker
from dtrak_stream.report.equal_images import equal_images_shown
from dtrak_stream.report.grids import draw_grid
from dtrak_stream.report.made_from import (
    keep_made_from,
    made_from,
)
from dtrak_stream.report.options import (
    KnownImages,
    ReportConfig,
    ReportOptions,
    ReportResult,
    nothing_known,
)
from dtrak_stream.report.overall import overall
from dtrak_stream.report.page import Page
from dtrak_stream.report.places import (
    GENERATOR,
    GRID_FOLDER,
    GRIDS,
    PAGE_NAME,
    refuse_other_report,
)
from dtrak_stream.report.tiles import Gallery, encode_png, parse_shape
from dtrak_stream.scoring.removed_since import refuse_removed_since
from dtrak_stream.scoring.scored_images import ROLES, ComparedImages, refuse_other_images
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.scoring.scores_layout import Side
from dtrak_stream.support.durable import durable_path, remove_partials, write_bytes
from dtrak_stream.support.progress import progress


def write_report(config: ReportConfig, known: KnownImages = nothing_known) -> ReportResult:
    """Write `OUT/index.html` and `OUT/grids/query-NNNNN.png`.

    The page stands alone: its images are inside it, and it asks the network for nothing. Grids
    that an earlier report left in the same folder and that this one lacks are removed.

    Parameters
    ----------
    config
        The scores, the sources of their images, and what to show.
    known
        What is known of the images, which are read once to be hashed otherwise.

    Raises
    ------
    InputError
        If the scores or a source cannot be read, or the scores are of no use, or of samples that
        were removed since, or something else than a report of such scores is in the way.
    FingerprintMismatchError
        If a source has other samples, or other images, than the ones that were scored.
    CorruptFileError
        If the scores file contradicts itself.
    DiskFullError
        If there is no room for the report.
    """
    require_limit(config.limit)
    require_limit(config.query_limit, flag="--query-limit")
    made = made_from(config)
    if made is not None and not made.settle():
        made = None
    with (
        ScoresFile(config.scores, config.report.damping_number) as scores,
        GroupLists(config.scores, scores.root_name) as groups,
    ):
        refuse_removed_since(scores)
        refuse_other_report(config.out, flag="--out (or --run)", subject=scores.subject)
        shape = parse_shape(str(scores.attributes["image_shape"]))
        train, query = _galleries(config, scores, shape, known)
        page = replace(_page(config, scores, shape, train), groups=groups)
        equal = equal_images_shown(scores, page.queries, config.report.proponents)
        cards = CardMaker(scores, train, query, config.report.proponents, equal)
        _write(page, cards, config)
    if made is not None and not (train.reaches_outside() or query.reaches_outside()):
        keep_made_from(config, made)
    return ReportResult(config.out / PAGE_NAME)


def _galleries(
    config: ReportConfig, scores: ScoresFile, shape: ImageShape, known: KnownImages
) -> tuple[Gallery, Gallery]:
    """Open the images of both sides, those that were scored."""

    def opened(side: Side, spec: str, limit: int | None, options: ImageOptions) -> Images:
        identity, visible = known(side), not config.quiet
        return open_images(spec, shape, options, limit=limit, identity=identity, visible=visible)

    pixels = config.report.tile_pixels
    train = opened("train", config.train, config.limit, config.images)
    query = opened("query", config.query, config.query_limit, config.query_images)
    refuse_other_images(scores, [_compared("train", train), _compared("query", query)])
    return (
        Gallery(train, scores.train_id, role="training", longest=pixels),
        Gallery(query, scores.query_id, role="query", longest=2 * pixels),
    )


def _compared(side: Side, images: Images) -> ComparedImages:
    return ComparedImages(
        side,
        images.spec,
        remedy=f"give the {ROLES[side]} that were featurized, in their order, with the same limit "
        "and image options",
        identity=images.identity,
        pictures=images.pictures_identity,
        count=len(images),
    )


def _page(config: ReportConfig, scores: ScoresFile, shape: ImageShape, train: Gallery) -> Page:
    options: ReportOptions = config.report
    found = overall(
        scores,
        train,
        proponents=options.proponents,
        rows=options.influential,
        visible=not config.quiet,
    )
    return Page(scores, options, shape, _shown(scores, options.max_queries), found)


def _shown(scores: ScoresFile, at_most: int) -> list[int]:
    """Return the rows of the first queries that were not removed; 0 stands for all of them."""
    left = np.ones(scores.query_count, np.bool_)
    left[scores.removed("query")] = False
    return [int(row) for row in np.flatnonzero(left)[: at_most or None]]


def _write(page: Page, cards: CardMaker, config: ReportConfig) -> None:
    grids = config.out / GRID_FOLDER
    remove_partials(config.out)
    remove_partials(grids)
    with durable_path(config.out / PAGE_NAME) as partial, partial.open("wb") as file:
        for piece in page.render(_drawn(cards, page, grids, visible=not config.quiet)):
            file.write(piece.encode())
    _remove_old_grids(grids, page.queries)


def _drawn(cards: CardMaker, page: Page, grids: Path, *, visible: bool) -> Iterator[Card]:
    """Yield each card once its grid is on disk."""
    columns, bars = page.options.proponents, page.group_bars()
    with progress(page.shown, description="report", unit="query", visible=visible) as bar:
        for number in page.queries:
            card = cards.card(number)
            picture = draw_grid(card, columns)
            write_bytes(grids / _grid_name(number), encode_png(picture, software=GENERATOR))
            yield replace(card, groups=bars.rows(number) if bars else [])
            bar.update()


def _remove_old_grids(grids: Path, shown: Sequence[int]) -> None:
    current = {_grid_name(number) for number in shown}
    for grid in grids.glob(GRIDS):
        if grid.name not in current:
            grid.unlink()


def _grid_name(number: int) -> str:
    return f"query-{number:05d}.png"
