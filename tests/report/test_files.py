"""What the report leaves on disk, and what it refuses."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from dtrak_stream.errors import (
    ConfigurationError,
    CorruptFileError,
    FingerprintMismatchError,
    InputError,
)
from dtrak_stream.report.grids import grid_size
from dtrak_stream.report.options import ReportConfig, ReportOptions
from dtrak_stream.report.write import write_report
from dtrak_stream.store.removal import remove
from dtrak_stream.store.removal_options import RemoveConfig
from dtrak_stream.support.configuration import parse
from tests.conftest import store_of
from tests.report.conftest import Run, decode_uri, make_run


@pytest.mark.parametrize(
    ("size", "colour", "tile", "query"),
    [
        ((8, 8), False, (8, 8), (8, 8)),
        ((32, 32), True, (32, 32), (32, 32)),
        ((256, 256), True, (128, 128), (256, 256)),
        ((400, 200), True, (128, 64), (256, 128)),
    ],
)
def test_every_picture_decodes_at_its_expected_size(
    tmp_path: Path,
    size: tuple[int, int],
    colour: bool,
    tile: tuple[int, int],
    query: tuple[int, int],
) -> None:
    run = make_run(tmp_path / "run", N=10, Q=2, size=size, colour=colour)
    page = run.report()
    pictures = page.all("img")
    assert len(page.all("ol", "tiles")) == 4
    assert len(pictures) >= 2 + 2 * 16
    queries = {id(picture) for place in page.all("div", "query") for picture in place.all("img")}
    assert len(queries) == 2
    for picture in pictures:
        decoded = decode_uri(picture.attributes["src"])
        assert decoded.mode == ("RGB" if colour else "L")
        assert decoded.size == (query if id(picture) in queries else tile)
        shown = (int(picture.attributes["width"]), int(picture.attributes["height"]))
        assert shown == decoded.size


def test_there_is_a_grid_for_every_query_shown(run: Run) -> None:
    run.report(max_queries=2, proponents=5)
    grids = sorted((run.config.out / "grids").iterdir())
    assert [grid.name for grid in grids] == ["query-00000.png", "query-00001.png"]
    for grid in grids:
        with Image.open(grid) as picture:
            picture.load()
            assert picture.size == grid_size(columns=5, rows=2)


def test_a_grid_holds_the_pixels_of_query_and_proponent_enlarged(run: Run) -> None:
    run.report()
    with Image.open(run.config.out / "grids" / "query-00000.png") as picture:
        grid = np.asarray(picture)[:, :, 0]
    best = run.train_ids[int(run.scores[0].argmax())]
    for path, side in ((f"query/{run.query_ids[0]}", 256), (f"train/{best}", 128)):
        with Image.open(run.folder / path) as picture:
            enlarged = np.asarray(picture).repeat(side // 8, axis=0).repeat(side // 8, axis=1)
        windows = np.lib.stride_tricks.sliding_window_view(grid, enlarged.shape)[:, ::4]
        corner = windows[:, :, 0, 0] == enlarged[0, 0]
        assert any(
            (windows[y, x] == enlarged).all() for y, x in zip(*corner.nonzero(), strict=True)
        )


def test_grids_of_an_earlier_longer_report_are_removed(run: Run) -> None:
    run.report()
    mine = run.config.out / "grids" / "notes.txt"
    mine.write_text("mine")
    run.report(max_queries=1)
    left = sorted(path.name for path in (run.config.out / "grids").iterdir())
    assert left == ["notes.txt", "query-00000.png"]


def test_the_same_scores_give_the_same_bytes(run: Run) -> None:
    run.report()
    first = (run.config.out / "index.html").read_bytes()
    run.report()
    assert (run.config.out / "index.html").read_bytes() == first


def test_the_result_names_the_page(run: Run) -> None:
    result = write_report(run.config)
    assert result.path == run.config.out / "index.html"
    assert result.path.is_file()
    assert result.quarantined == 0


def test_options_have_their_flags(tmp_path: Path) -> None:
    flags = "--scores s.h5 --train a --query b --out o --query-limit 9 --max-queries 3"
    config = parse(ReportConfig, flags.split())
    assert config == ReportConfig(
        Path("s.h5"), "a", "b", Path("o"), query_limit=9, report=ReportOptions(max_queries=3)
    )


@pytest.mark.parametrize("option", ["max_queries", "proponents", "influential", "tile_pixels"])
def test_a_senseless_number_is_refused(option: str) -> None:
    with pytest.raises(ConfigurationError, match=f"--{option.replace('_', '-')}: -1 is too small"):
        ReportOptions(**{option: -1})


@pytest.mark.parametrize("role", ["train", "query"])
def test_a_source_in_another_order_is_refused_with_both_ids(run: Run, role: str) -> None:
    ids = run.train_ids if role == "train" else run.query_ids
    ids.reverse()
    run.write_scores()
    ids.reverse()
    with pytest.raises(FingerprintMismatchError) as refusal:
        write_report(run.config)
    assert refusal.value.stored in ids
    assert refusal.value.requested in ids
    assert refusal.value.stored != refusal.value.requested
    assert role in str(refusal.value)


def test_a_source_that_is_too_short_is_refused(run: Run) -> None:
    for config in (replace(run.config, limit=1), replace(run.config, query_limit=1)):
        with pytest.raises(FingerprintMismatchError, match="nothing"):
            write_report(config)


def test_a_refusal_leaves_the_earlier_page_as_it_was(run: Run) -> None:
    run.report()
    before = (run.config.out / "index.html").read_bytes()
    with pytest.raises(FingerprintMismatchError):
        write_report(replace(run.config, query_limit=1))
    assert (run.config.out / "index.html").read_bytes() == before
    assert not list(run.config.out.glob("**/*.partial"))


def test_scores_of_before_an_image_was_removed_are_on_no_page(run: Run) -> None:
    store = store_of(run.folder / "features", np.ones((30, 2)), images="train")
    run.write_scores(train_store="features", train_fingerprint=store.layout.state)
    run.report()
    before = (run.config.out / "index.html").read_bytes()
    (run.folder / "rows.txt").write_text("3\n")
    remove(RemoveConfig((store.layout.root,), rows=run.folder / "rows.txt"))
    with pytest.raises(InputError, match=r"1 samples that were removed.*score again"):
        run.report()
    assert (run.config.out / "index.html").read_bytes() == before


def test_missing_scores_are_refused(run: Run) -> None:
    run.config.scores.unlink()
    with pytest.raises(
        InputError, match=r"scores\.h5: does not exist; run dtrak-stream score first"
    ):
        write_report(run.config)


def test_a_file_that_is_not_hdf5_is_refused(run: Run) -> None:
    run.config.scores.write_bytes(b"not HDF5" * 100)
    with pytest.raises(InputError, match="cannot be read as HDF5"):
        write_report(run.config)


def test_a_truncated_file_is_refused(run: Run) -> None:
    os.truncate(run.config.scores, 2000)
    with pytest.raises(InputError, match="cannot be read as HDF5"):
        write_report(run.config)


def test_a_file_without_rankings_is_refused_by_what_it_lacks(run: Run) -> None:
    with h5py.File(run.config.scores, "r+") as file:
        del file["top_index"], file.attrs["method"]
    with pytest.raises(InputError, match="it has no top_index, method"):
        write_report(run.config)


def test_images_that_cannot_be_shown_are_refused(run: Run) -> None:
    run.write_scores(image_shape="4x8x8")
    with pytest.raises(InputError, match="4x8x8"):
        write_report(run.config)


def test_parts_of_other_sizes_are_refused(run: Run) -> None:
    with h5py.File(run.config.scores, "r+") as file:
        del file["scores"]
        file["scores"] = np.zeros((3, 29), np.float32)
    with pytest.raises(CorruptFileError, match="scores has shape"):
        write_report(run.config)


def test_a_ranking_that_contradicts_the_scores_is_refused(run: Run) -> None:
    with h5py.File(run.config.scores, "r+") as file:
        file["scores"][0] = np.roll(run.scores[0], 1)
    with pytest.raises(CorruptFileError, match="the ranking of query 0"):
        write_report(run.config)


def test_a_score_above_its_ranking_is_refused(run: Run) -> None:
    with h5py.File(run.config.scores, "r+") as file:
        file["scores"][2, int(run.scores[2].argsort()[15])] = 99
    with pytest.raises(CorruptFileError, match="1 scores lie outside the range"):
        write_report(run.config)


@pytest.mark.parametrize("ranking", ["top_index", "bottom_index"])
def test_a_ranking_of_images_that_do_not_exist_is_refused(run: Run, ranking: str) -> None:
    with h5py.File(run.config.scores, "r+") as file:
        file[ranking][1, 0] = 30
    with pytest.raises(CorruptFileError, match="outside 0 to 29"):
        write_report(run.config)


def test_a_limit_that_is_none_is_refused_by_its_own_name(run: Run) -> None:
    with pytest.raises(ConfigurationError, match=r"^--query-limit: 0 is not a number"):
        write_report(replace(run.config, query_limit=0))
    with pytest.raises(ConfigurationError, match=r"^--limit: 0 is not a number"):
        write_report(replace(run.config, limit=0))
