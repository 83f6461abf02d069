"""Gram matrix and scores on a GPU: those of float64 and of the CPU within float32 rounding."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from dtrak_stream.gram.file import Gram
from dtrak_stream.gram.options import GramConfig, GramOptions
from dtrak_stream.gram.plan import tile_bytes
from dtrak_stream.gram.run import compute_gram
from dtrak_stream.scoring.halves import HalfSketch
from dtrak_stream.scoring.options import ScoreConfig, ScoreOptions
from dtrak_stream.scoring.run import score
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.row_stream import cut_rows, load_rows, stream_rows
from dtrak_stream.support.device import device_name
from tests.conftest import store_of

ROWS, PROJ_DIM = 300, 128


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> tuple[FeatureStore, FeatureStore]:
    folder, rng = tmp_path_factory.mktemp("stores"), np.random.default_rng(0)
    features = rng.normal(size=(ROWS + 5, PROJ_DIM)).astype(np.float32)
    features *= np.logspace(-3, 3, ROWS + 5, dtype=np.float32)[:, None]
    features[17] = np.nan
    return (
        store_of(folder / "train", features[:ROWS], dtype="float16"),
        store_of(folder / "query", features[ROWS:], dtype="float16", images="query"),
    )


def gram_of(
    store: FeatureStore, out: Path, device: str, *, tf32: bool = False, **options: str
) -> Gram:
    config = GramConfig(
        store.layout.root,
        out,
        GramOptions(**options),  # type: ignore[arg-type]
        quiet=True,
        device=device,
        tf32=tf32,
    )
    compute_gram(config)
    return Gram.open(out)


@pytest.mark.parametrize("step", [7, 64, 1000])
def test_rows_arrive_as_they_are_stored(device, stores, step):
    train = stores[0]
    cuts = cut_rows(range(ROWS), step)
    rows = [block.scaled().cpu().numpy().copy() for block in stream_rows(train, cuts, device)]
    assert np.array_equal(np.concatenate(rows), train.rows(range(ROWS)))
    half = HalfSketch(train, "sum")
    assert np.array_equal(
        load_rows(half, range(9, 60), device, step).cpu(), half.rows(range(9, 60))
    )


def test_a_stream_that_is_left_early_leaves_nothing_on_its_way(device, stores):
    blocks = stream_rows(stores[0], cut_rows(range(ROWS), 7), device)
    first = next(blocks).scaled().cpu()
    del blocks
    assert np.array_equal(first, stores[0].rows(range(7)))


@pytest.mark.parametrize("form", ["primal", "dual"])
@pytest.mark.parametrize("tiles", [1, 2])
def test_a_gram_matrix_is_that_of_float64_and_of_the_cpu(
    device, stores, tmp_path, monkeypatch, form, tiles
):
    monkeypatch.setattr("dtrak_stream.gram.plan._SMALLEST_TILE", 1)
    train = stores[0]
    phi = train.rows(range(ROWS)).astype(np.float64)
    expected = phi.T @ phi if form == "primal" else phi @ phi.T
    limit = str(tile_bytes(train, form, -(-len(expected) // tiles), 1))
    options = {"gram_form": form, "memory_limit": limit}
    found = gram_of(train, tmp_path / "gpu.h5", str(device), **options).matrix()
    same = gram_of(train, tmp_path / "cpu.h5", "cpu", **options).matrix()
    lengths = np.sqrt(np.diag(expected))
    rounding = 1e-5 * np.outer(lengths, lengths)
    assert (np.abs(found - expected) <= rounding).all()
    assert (np.abs(found - same) <= rounding).all()
    assert np.array_equal(found, found.T)
    with h5py.File(tmp_path / "gpu.h5") as file:
        assert file.attrs["device"] == device_name(device)
        assert not file.attrs["tf32"]


def test_a_gram_matrix_is_the_same_bytes_each_time(device, stores, tmp_path):
    for name in ("a.h5", "b.h5"):
        gram_of(stores[0], tmp_path / name, str(device))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize("method", ["d-trak", "gradient-cosine"])
def test_scores_are_those_of_the_cpu(device, stores, tmp_path, method):
    train, query = (store.layout.root for store in stores)
    gram = gram_of(stores[0], tmp_path / "gram.h5", "cpu").path if method == "d-trak" else None
    tables = []
    for name in (str(device), "cpu"):
        out = tmp_path / f"{name.replace(':', '-')}.h5"
        options = ScoreOptions(method, top_k=5)
        if out.exists():
            out = tmp_path / "again.h5"
        score(ScoreConfig(train, query, gram, out, options, quiet=True, device=name))
        with h5py.File(out) as file:
            tables.append(file["scores"][()])
            assert file.attrs["device"] == device_name(torch.device(name))
    assert np.isnan(tables[0][:, 17]).all()
    usable = np.arange(ROWS) != 17
    found, expected = (table[:, usable] for table in tables)
    bound = 1e-4 * np.abs(expected).max()
    assert np.allclose(found, expected, rtol=1e-4, atol=bound)


def test_tf32_is_told_and_coarser(gpu, stores, tmp_path):
    found = gram_of(stores[0], tmp_path / "coarse.h5", str(gpu), tf32=True)
    assert found.tf32
    exact = gram_of(stores[0], tmp_path / "exact.h5", str(gpu)).matrix()
    lengths = np.sqrt(np.diag(exact))
    errors = np.abs(found.matrix() - exact) / np.outer(lengths, lengths).clip(1e-30)
    assert 1e-6 < errors.max() < 1e-2
