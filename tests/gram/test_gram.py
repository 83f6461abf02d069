"""The Gram matrix: exact, out of core, resumable, on threads and on a scheduler."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial

import h5py
import numpy as np
import pytest
import torch
import xxhash
from distributed import LocalCluster
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dtrak_stream.errors import (
    ConfigurationError,
    CorruptFileError,
    FingerprintMismatchError,
    InputError,
    InterruptedRunError,
    MemoryLimitError,
)
from dtrak_stream.gram.file import Gram
from dtrak_stream.gram.options import GramConfig, GramOptions
from dtrak_stream.gram.plan import GramPlan, plan_gram, tile_bytes
from dtrak_stream.gram.products import TreeSum, mirror, partial_product, sum_of_products
from dtrak_stream.gram.run import compute_gram
from dtrak_stream.support.checkpoints import Checkpoints
from dtrak_stream.support.cluster import Threads
from dtrak_stream.support.cluster_options import ClusterOptions
from dtrak_stream.support.stopping import stop, work_for
from tests.conftest import store_of
from tests.crashing import contents, finishes_before_step, halves_of_writes, steps_of_claims


def random_features(samples, proj_dim=64, seed=0):
    return np.random.default_rng(seed).normal(size=(samples, proj_dim)).astype(np.float32)


def compute(store, out, scheduler=None, **options):
    cluster = ClusterOptions(scheduler=scheduler)
    return compute_gram(
        GramConfig(store.layout.root, out, GramOptions(**options), cluster, quiet=True)
    )


def direct(features, form):
    phi = features.astype(np.float64)
    return phi.T @ phi if form == "primal" else phi @ phi.T


@pytest.mark.parametrize(("samples", "form"), [(20, "dual"), (64, "dual"), (65, "primal")])
def test_the_smaller_form_is_chosen_and_equals_the_direct_product(
    make_store, tmp_path, samples, form
):
    features = random_features(samples)
    compute(make_store("s", features), tmp_path / "gram.h5")
    gram = Gram.open(tmp_path / "gram.h5")
    assert gram.form == form
    assert np.allclose(gram.matrix(), direct(features, form), rtol=1e-5, atol=1e-5)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25
)
@given(
    samples=st.integers(1, 20),
    rows_per_shard=st.integers(1, 9),
    tile=st.integers(16, 70),
    form=st.sampled_from(["primal", "dual"]),
    dtype=st.sampled_from(["float16", "float32", "int8"]),
)
def test_any_tiling_gives_the_same_matrix(
    tmp_path_factory, monkeypatch, samples, rows_per_shard, tile, form, dtype
):
    root = tmp_path_factory.mktemp("gram")
    features = random_features(samples)
    store = store_of(root / "s", features, rows_per_shard=rows_per_shard, dtype=dtype)
    monkeypatch.setattr("dtrak_stream.gram.plan._SMALLEST_TILE", 1)
    monkeypatch.setattr("dtrak_stream.gram.plan._ROWS_PER_GROUP", 2 * rows_per_shard)
    limit = tile_bytes(store, form, tile, 1)
    compute(store, root / "gram.h5", gram_form=form, memory_limit=str(limit))
    gram = Gram.open(root / "gram.h5").matrix()
    stored = store.rows(range(samples))
    assert np.allclose(gram, direct(stored, form), rtol=1e-5, atol=1e-5)
    assert np.array_equal(gram, gram.T)
    shutil.rmtree(root)


@pytest.mark.parametrize("at_a_time", [3, 64])
def test_the_dual_form_sums_over_blocks_of_columns(make_store, tmp_path, monkeypatch, at_a_time):
    monkeypatch.setattr("dtrak_stream.gram.products._COLUMNS_PER_PRODUCT", at_a_time)
    features = random_features(20)
    compute(make_store("s", features), tmp_path / "gram.h5", gram_form="dual")
    gram = Gram.open(tmp_path / "gram.h5").matrix()
    assert np.allclose(gram, direct(features, "dual"), rtol=1e-5, atol=1e-5)


def grouped(monkeypatch, store, workers=1):
    """Let each task sum over one shard, and so many of them run at a time."""
    monkeypatch.setattr("dtrak_stream.gram.plan._ROWS_PER_GROUP", 1)
    monkeypatch.setattr("os.cpu_count", lambda: workers)
    return plan_gram(store, "primal", memory_limit=2**30, workers=workers)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_groups_are_added_in_one_tree_however_many_are_computed_at_once(
    make_store, tmp_path, monkeypatch, workers
):
    # shards so unlike that float64 rounds their sum, and rounds it otherwise in another order
    scales = np.repeat([1e-5, 1e4, 1e-2, 1e3, 1], 7)[:33, None].astype(np.float32)
    store = make_store("s", random_features(33) * scales)
    plan = grouped(monkeypatch, store, workers)
    (tile,) = plan.tiles()
    parts = [partial_product(store, "primal", tile, group) for group in plan.groups]
    expected = ((parts[0] + parts[1]) + (parts[2] + parts[3])) + parts[4]
    assert not np.array_equal(expected, sum(parts))
    compute(store, tmp_path / "gram.h5", gram_form="primal")
    assert np.array_equal(Gram.open(tmp_path / "gram.h5").matrix(), expected)


class Workers(Threads):
    """Threads of this process that are told of as workers of other processes, and what they do."""

    def __init__(self, workers, threads=1):
        super().__init__(workers)
        self.workers, self.threads, self.fewest_threads = workers * threads, threads, threads


@pytest.mark.parametrize(
    ("workers", "threads", "tasks"),
    [
        (1, 1, [4, 4, 4, 4, 4, 1]),
        (2, 1, [4, 4, 4, 4, 1, 1, 1, 1, 1]),
        (3, 1, [2] * 6 + [1] * 9),
        (4, 1, [2] * 4 + [1] * 13),
        (16, 1, [1] * 21),
        (1, 2, [1] * 21),
    ],
)
def test_workers_get_ranges_whole_where_that_keeps_all_of_them_busy(
    make_store, tmp_path, monkeypatch, workers, threads, tasks
):
    scales = np.repeat(np.tile([1e-5, 1e4, 1e-2, 1e3, 1], 5), 7)[:145, None].astype(np.float32)
    store = make_store("s", random_features(145) * scales)
    plan, cluster = grouped(monkeypatch, store), Workers(workers, threads)
    assert len(plan.groups) == 21
    expected = np.zeros(0)
    for groups in plan.ranges():
        part = sum_of_products(store, "primal", next(plan.tiles()), groups)
        expected = expected + part if expected.size else part
    counts: list[tuple[int, int]] = []

    def counted(store, form, tile, groups, arithmetic):
        counts.append((groups[0].start, len(groups)))
        return sum_of_products(store, form, tile, groups, arithmetic)

    monkeypatch.setattr("dtrak_stream.gram.run.sum_of_products", counted)
    monkeypatch.setattr("dtrak_stream.gram.run.connect", lambda *_: nullcontext(cluster))
    options = ClusterOptions(devices=",".join(["cpu"] * (workers + 1)))
    compute_gram(GramConfig(store.layout.root, tmp_path / "gram.h5", cluster=options, quiet=True))
    assert [count for _, count in sorted(counts)] == tasks
    assert np.array_equal(Gram.open(tmp_path / "gram.h5").matrix(), expected)


def test_matrices_are_added_in_place_as_a_tree_of_any_number_of_them():
    terms = np.random.default_rng(0).standard_normal((9, 3, 2))
    terms *= 10.0 ** np.arange(9)[:, None, None]
    for count in range(1, 10):
        sums, rest = TreeSum((3, 2), torch.device("cpu")), list(terms[:count])
        for term in rest:
            sums.begin().numpy()[:] += term
            sums.end()
        while len(rest) > 1:
            rest = [sum(rest[i + 1 : i + 2], rest[i]) for i in range(0, len(rest), 2)]
        assert np.array_equal(sums.result().numpy(), rest[0])


def test_multiplying_ends_at_the_next_block_when_it_is_told_to(make_store):
    store = make_store("s", random_features(33))
    (tile,) = GramPlan("primal", 64, 64, 1, 0, ()).tiles()

    def stopped():
        work_for("a command")
        stop("a command")
        with pytest.raises(InterruptedRunError):
            partial_product(store, "primal", tile, range(5))

    with ThreadPoolExecutor(1) as pool:
        pool.submit(stopped).result()


def test_work_goes_on_from_the_last_checkpoint(make_store, tmp_path, monkeypatch):
    """A kill between a checkpoint and the removal of the one before leaves both."""
    monkeypatch.setattr("dtrak_stream.gram.plan._GROUPS_PER_RANGE", 1)
    store = make_store("s", random_features(33))
    plan = grouped(monkeypatch, store)
    out, summed = tmp_path / "gram.h5", list[int]()

    def counted(store, form, tile, groups, arithmetic):
        summed.extend(group.start for group in groups)
        if summed == [0, 1, 2, 3]:
            raise KeyboardInterrupt
        return sum_of_products(store, form, tile, groups, arithmetic)

    with monkeypatch.context() as patch:
        patch.setattr("dtrak_stream.gram.run.sum_of_products", counted)
        patch.setattr(Checkpoints, "drop", lambda *_: None)
        with pytest.raises(
            InterruptedRunError, match=r"partial sums are kept in .*gram\.h5\.parts"
        ):
            compute(store, out, gram_form="primal")
        assert len(list(tmp_path.glob("gram.h5.parts/*-after-*"))) == 3
        begun = len(summed)  # the one after it may have begun as well
        compute(store, out, gram_form="primal")
    assert sorted(summed[begun:]) == [3, 4]
    compute(store, tmp_path / "at-once.h5", gram_form="primal")
    assert out.read_bytes() == (tmp_path / "at-once.h5").read_bytes()
    assert [group.start for group in plan.groups] == [0, 1, 2, 3, 4]


def test_tiles_come_row_by_row_from_the_diagonal_on():
    tiles = GramPlan("dual", 5, 2, 1, 1, (range(0),)).tiles()
    assert [(tile.rows, tile.columns) for tile in tiles] == [
        (range(0, 2), range(0, 2)),
        (range(0, 2), range(2, 4)),
        (range(0, 2), range(4, 5)),
        (range(2, 4), range(2, 4)),
        (range(2, 4), range(4, 5)),
        (range(4, 5), range(4, 5)),
    ]


def test_a_plan_stays_under_the_limit_and_uses_it(make_store):
    store = make_store("s", random_features(200, 256))
    whole = tile_bytes(store, "primal", 256, 2, ahead=1)
    plan = plan_gram(store, "primal", memory_limit=whole, workers=2)
    assert (plan.tile_size, plan.workers) == (256, 2)
    alone = plan_gram(store, "primal", memory_limit=whole - 1, workers=2)
    assert (alone.tile_size, alone.workers) == (256, 1)
    small = plan_gram(
        store, "primal", memory_limit=tile_bytes(store, "primal", 256, 1) - 1, workers=2
    )
    assert small.tile_size < 256
    cells = np.zeros((256, 256), int)
    for tile in small.tiles():
        cells[tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop] += 1
    assert np.array_equal(np.triu(cells), np.triu(np.ones_like(cells)))


def test_work_that_fits_in_no_plan_is_refused_before_it_starts(make_store, tmp_path):
    store = make_store("s", random_features(200, 256))
    with pytest.raises(MemoryLimitError, match=r"--memory-limit.*allow at least"):
        compute(store, tmp_path / "gram.h5", memory_limit="10KB", gram_form="primal")
    assert not list(tmp_path.glob("gram*"))


def test_the_limit_that_a_refusal_asks_for_is_enough(make_store, tmp_path):
    store = make_store("s", random_features(200, 256))
    with pytest.raises(MemoryLimitError) as refusal:
        compute(store, tmp_path / "gram.h5", memory_limit="10KB", gram_form="primal")
    found = str(refusal.value).rpartition("allow at least ")[2]
    compute(store, tmp_path / "gram.h5", memory_limit=found, gram_form="primal")


def test_a_limit_that_is_no_size_is_refused(make_store, tmp_path):
    store = make_store("s", random_features(5))
    with pytest.raises(ConfigurationError, match=r"--memory-limit lots.*4GiB"):
        compute(store, tmp_path / "gram.h5", memory_limit="lots")


def test_quarantined_samples_are_absent(make_store, tmp_path):
    features = random_features(90)
    features[[4, 50]] = np.nan
    compute(make_store("s", features), tmp_path / "gram.h5")
    kept = np.delete(features, [4, 50], axis=0)
    gram = Gram.open(tmp_path / "gram.h5").matrix()
    assert np.allclose(gram, direct(kept, "primal"), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", ["primal", "dual"])
def test_a_kill_at_any_step_and_a_restart_give_the_same_bytes(
    make_store, tmp_path, monkeypatch, form
):
    monkeypatch.setattr("dtrak_stream.gram.plan._SMALLEST_TILE", 1)
    monkeypatch.setattr("dtrak_stream.gram.plan._ROWS_PER_GROUP", 14)
    store = make_store("s", random_features(40))
    options = {"gram_form": form, "memory_limit": str(tile_bytes(store, form, 40, 1))}
    compute(store, tmp_path / "whole.h5", **options)
    # one folder is killed again and again; it must get further every time
    out, deaths = tmp_path / "killed" / "gram.h5", 0
    step = 6
    while not finishes_before_step(lambda: compute(store, out, **options), step):
        assert not out.exists() or Gram.open(out).matrix().any()
        deaths += 1
        assert deaths < 200, "no progress from one restart to the next"
        step = 6 + deaths % 7
    assert deaths > 1
    assert out.read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert not out.with_name("gram.h5.parts").exists()


@pytest.mark.parametrize(("of", "steps"), [(steps_of_claims, 6), (halves_of_writes, 8)])
def test_a_kill_amid_a_claim_or_a_write_and_a_restart_give_the_same_bytes(
    make_store, tmp_path, impatient, of, steps
):
    store, step = make_store("s", random_features(20)), 0
    compute(store, tmp_path / "whole" / "gram.h5")
    whole, over = contents(tmp_path / "whole", "*.h5"), False
    while not over:
        out = tmp_path / str(step) / "gram.h5"
        over = finishes_before_step(partial(compute, store, out), step, of)
        compute(store, out)
        assert contents(out.parent, "*[!l]") == whole  # and the record of its options
        step += not over
    assert step >= steps


def test_a_finished_gram_is_not_computed_again(make_store, tmp_path):
    store = make_store("s", random_features(20))
    assert compute(store, tmp_path / "gram.h5").computed > 0
    assert compute(store, tmp_path / "gram.h5").computed == 0


def test_what_a_kill_left_beside_a_finished_gram_is_removed(make_store, tmp_path):
    store = make_store("s", random_features(20))
    steps, left = 0, 0
    while not finishes_before_step(partial(compute, store, out := tmp_path / f"{steps}.h5"), steps):
        if out.exists():
            assert out.with_name(f"{steps}.h5.parts").exists()
            assert compute(store, out).computed == 0
            assert not out.with_name(f"{steps}.h5.parts").exists()
            left += 1
        steps += 1
    assert left == 1  # killed between naming the file and making the name durable


@pytest.mark.parametrize("form", ["primal", "dual"])
def test_a_file_says_what_it_is_the_gram_of(make_store, tmp_path, form):
    store = make_store("s", random_features(20))
    compute(store, tmp_path / "gram.h5", gram_form=form)
    with h5py.File(tmp_path / "gram.h5") as file:
        assert set(file) == {"gram"}
        assert dict(file.attrs) == {
            "form": form,
            "fingerprint": store.fingerprint.hash(),
            "samples": 20,
            "proj_dim": 64,
            "device": "cpu",
            "tf32": False,
            "checksum": xxhash.xxh3_128_hexdigest(file["gram"][()].tobytes()),
        }


def test_the_gram_of_another_store_is_refused(make_store, tmp_path):
    compute(make_store("a", random_features(20)), tmp_path / "gram.h5")
    with pytest.raises(FingerprintMismatchError, match="fingerprint differs"):
        compute(make_store("b", random_features(20)), tmp_path / "gram.h5")


def test_a_gram_of_another_form_is_refused(make_store, tmp_path):
    store = make_store("s", random_features(20))
    compute(store, tmp_path / "gram.h5")
    with pytest.raises(FingerprintMismatchError, match="'dual', requested 'primal'"):
        compute(store, tmp_path / "gram.h5", gram_form="primal")


def test_a_damaged_shard_is_refused(make_store, tmp_path):
    store = make_store("s", random_features(20))
    path = store.layout.shard_path(1)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorruptFileError, match=r"00000001\.h5"):
        compute(store, tmp_path / "gram.h5")


def test_a_gram_with_nan_is_refused(make_store, tmp_path):
    compute(make_store("s", random_features(20)), tmp_path / "gram.h5")
    with h5py.File(tmp_path / "gram.h5", "r+") as file:
        file["gram"][0, 0] = np.nan
    with pytest.raises(CorruptFileError, match="NaN"):
        Gram.open(tmp_path / "gram.h5").matrix()


def test_a_missing_gram_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"dtrak-stream gram"):
        Gram.open(tmp_path / "gram.h5")


@pytest.mark.usefixtures("no_old_clients")
def test_an_address_where_nobody_answers_is_refused(make_store, tmp_path, monkeypatch):
    monkeypatch.setattr("dtrak_stream.support.scheduler._CONNECT_SECONDS", 0.5)
    store = make_store("s", random_features(20))
    with pytest.raises(InputError, match=r"--scheduler tcp://127\.0\.0\.1:9: no Dask scheduler"):
        compute(store, tmp_path / "gram.h5", scheduler="tcp://127.0.0.1:9")


@pytest.mark.usefixtures("no_old_clients")
@pytest.mark.filterwarnings("default::ResourceWarning", "default::DeprecationWarning")
def test_a_scheduler_computes_the_same_matrix(make_store, tmp_path):
    store = make_store("s", random_features(90))
    compute(store, tmp_path / "threads.h5")
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0"
    ) as cluster:
        compute(store, tmp_path / "cluster.h5", scheduler=cluster.scheduler_address)
    threads, remote = Gram.open(tmp_path / "threads.h5"), Gram.open(tmp_path / "cluster.h5")
    assert np.array_equal(threads.matrix(), remote.matrix())


def test_what_a_gpu_adds_in_another_order_is_mirrored(monkeypatch):
    monkeypatch.setattr("dtrak_stream.gram.products._MIRRORED_AT_A_TIME", 3)
    matrix = torch.arange(64.0, dtype=torch.float64).reshape(8, 8)
    expected = np.triu(matrix) + np.triu(matrix, 1).T
    mirror(matrix)
    assert np.array_equal(matrix, expected)


def test_tf32_is_refused_where_there_is_none(make_store, tmp_path):
    store = make_store("s", random_features(5))
    config = GramConfig(store.layout.root, tmp_path / "gram.h5", device="cpu", tf32=True)
    with pytest.raises(ConfigurationError, match=r"--tf32: there is no TF32 on cpu"):
        compute_gram(config)


def test_a_gram_of_coarser_products_is_not_taken_for_one_that_is_not(make_store, tmp_path):
    store, out = make_store("s", random_features(20)), tmp_path / "gram.h5"
    compute(store, out)
    with h5py.File(out, "r+") as file:
        file.attrs["tf32"] = True
    with pytest.raises(FingerprintMismatchError, match="tf32"):
        compute(store, out)
    with h5py.File(out, "r+") as file:
        del file.attrs["tf32"]  # as files that were written before it was told
    assert compute(store, out).computed == 0
