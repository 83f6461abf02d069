"""Several dampings at once, solvers for large matrices, and what is told about a kernel."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import dtrak_stream.scoring.kernel as kernel_module
import dtrak_stream.scoring.plan as plan_module
from dtrak_stream.errors import ConfigurationError, CorruptFileError, InputError, MemoryLimitError
from dtrak_stream.gram.file import Gram
from dtrak_stream.kernel.damping import PATH, parse_dampings
from dtrak_stream.methods import METHODS
from dtrak_stream.scoring.normalisation import NORMALISATIONS
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.store.row_reader import RowReader
from tests.scoring.conftest import (
    attributes,
    attribution_of,
    close,
    formula,
    read,
    whole_numbers,
)
from tests.scoring.formulas import reference

TRAIN, QUERY = whole_numbers(24, 64), whole_numbers(5, 64, 1)
LIST = "0.01,0.1,1,abs:500"


def groups(path):
    """Datasets and attributes of each lambda of a file."""
    with h5py.File(path) as file:
        return [
            ({name: file[group][name][()] for name in file[group]}, dict(file[group].attrs))
            for group in sorted(file)
            if group.startswith("damping_")
        ]


@pytest.fixture
def large(monkeypatch):
    """Treat every matrix as one too large for all its eigenvalues."""
    monkeypatch.setattr(plan_module, "EXACT_SIZE", 0)
    monkeypatch.setattr(kernel_module, "EXACT_SIZE", 0)


@pytest.mark.parametrize("method", ["d-trak", "relative-if"])
@pytest.mark.parametrize("form", ["primal", "dual"])
def test_a_list_gives_the_same_as_its_dampings_one_by_one(tmp_path, form, method):
    run = attribution_of(tmp_path, TRAIN, QUERY, form=form)
    run.score(damping=LIST, method=method, top_k=7)
    found = groups(run.out)
    assert len(found) == 4
    for damping, (content, facts) in zip(LIST.split(","), found):
        single = run.score(tmp_path / f"{damping}.h5", damping=damping, method=method, top_k=7)
        alone = read(single.path)
        assert set(content) == set(alone) - {"query_id", "train_id"}
        for name, array in content.items():
            # products of other sizes are added in another order
            bound = 1e-5 * np.nanmax(np.abs(array))
            assert np.allclose(array, alone[name], rtol=1e-5, atol=bound), name
        for name in ("damping_absolute", "damping_relative", "effective_dimension", "condition"):
            assert facts[name] == pytest.approx(attributes(single.path)[name], rel=1e-6)


def test_a_list_is_scored_in_one_pass_over_the_store(tmp_path, monkeypatch):
    run = attribution_of(tmp_path, TRAIN, QUERY, form="primal")
    read, read_rows = RowReader.read, list[int]()

    def counted(reader, rows, features, scale):
        read_rows.extend(rows)
        read(reader, rows, features, scale)

    monkeypatch.setattr(RowReader, "read", counted)
    run.score(damping="0.01,0.1,1")
    assert read_rows == list(range(len(run.train)))


def test_the_path_is_every_damping_of_it(small):
    small.score(damping="path")
    found = groups(small.out)
    assert len(found) == len(PATH)
    for value, (content, facts) in zip(PATH, found):
        assert facts["damping_relative"] == pytest.approx(value)
        assert close(content["scores"], formula(TRAIN, QUERY, facts["damping_absolute"]))


def test_the_path_is_refused_if_its_eigenvectors_do_not_fit(small, large):
    with pytest.raises(MemoryLimitError, match="list fewer dampings"):
        small.score(damping="path", memory_limit="20KiB")
    assert not small.out.exists()


def test_scores_of_a_list_are_read_one_damping_at_a_time(small):
    small.score(damping=LIST)
    found = groups(small.out)
    for number, (content, facts) in enumerate(found):
        with ScoresFile(small.out, number) as scores:
            assert scores.damping_count == 4
            assert scores.attributes["damping_absolute"] == facts["damping_absolute"]
            assert scores.attributes["method"] == "d-trak"
            assert np.array_equal(scores.scores(2), content["scores"][2])
            assert scores.top(0, 1)[0].index == content["top_index"][0, 0]
            assert scores.train_id(3) == "train-3"


@pytest.mark.parametrize("number", [None, -1, 4])
def test_a_damping_that_a_file_does_not_have_is_refused(small, number):
    small.score(damping=LIST)
    with pytest.raises(InputError, match=r"list of 4 dampings.*from 0 to 3"):
        ScoresFile(small.out, number)


def test_a_file_without_a_list_has_no_damping_to_choose(small):
    small.score()
    with pytest.raises(InputError, match="choose none"):
        ScoresFile(small.out, 0)


def test_a_list_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    monkeypatch.setattr(plan_module, "_ROWS_PER_PART", 14)
    run = attribution_of(tmp_path, TRAIN, QUERY)
    whole = run.score(tmp_path / "whole.h5", damping=LIST).path.read_bytes()
    run.interrupt(monkeypatch, after=1, damping=LIST)
    assert run.score(damping=LIST).computed == 1
    assert run.out.read_bytes() == whole


@pytest.fixture
def no_whole_matrix(monkeypatch):
    """Read the Gram matrix thirteen rows at a time, and never as a whole."""
    monkeypatch.setattr("dtrak_stream.gram.file.ROW_BLOCK_BYTES", 8 * 64 * 13)
    monkeypatch.setattr(Gram, "matrix", lambda _: pytest.fail("the whole matrix was read"))


@pytest.mark.parametrize("damping", ["auto", "0.1", LIST])
@pytest.mark.parametrize("form", ["primal", "dual"])
def test_a_matrix_that_is_read_in_blocks_gives_the_same_scores(
    tmp_path, monkeypatch, large, no_whole_matrix, form, damping
):
    solvers = property(lambda _: lambda: ("conjugate gradients",))
    monkeypatch.setattr(plan_module.ScoreWork, "solvers", solvers)
    train, query = whole_numbers(80, 64), whole_numbers(5, 64, 1)
    run = attribution_of(tmp_path, train, query, form=form)
    run.score(damping=damping)
    for content, facts in groups(run.out) or [(read(run.out), attributes(run.out))]:
        assert facts["kernel_solver"] == "conjugate gradients"
        assert close(content["scores"], formula(train, query, facts["damping_absolute"]))


def test_a_matrix_that_does_not_fit_in_memory_is_read_in_blocks(
    tmp_path, monkeypatch, large, no_whole_matrix
):
    # nothing but the matrix is large, as with a matrix of a real size
    for name, size in (("ROW_BLOCK_BYTES", 1536), ("_STREAM_BYTES", 1536), ("PROBES", 1)):
        monkeypatch.setattr(plan_module, name, size)
    run = attribution_of(tmp_path, whole_numbers(80, 64), QUERY, form="dual")
    result = run.score(damping="0.1", memory_limit=str(8 * 80**2 - 1), top_k=5, save_scores="no")
    assert attributes(result.path)["kernel_solver"] == "conjugate gradients"


@pytest.mark.parametrize("method", ["relative-if", "das"])
def test_a_solve_for_every_sample_needs_the_matrix_in_memory(tmp_path, large, method):
    work = plan_module.ScoreWork(
        parse_dampings("0.1"), 100, normalisation=NORMALISATIONS[METHODS[method].normalisation]
    )
    assert work.solvers() == ("cholesky",)


def test_a_kernel_of_32768_dimensions_fits_in_24_gib():
    gib = 2**30
    for solver in ("cholesky", "eigenvectors", "conjugate gradients"):
        assert plan_module._kernel_bytes(32_768, solver) < 20 * gib
    assert plan_module._kernel_bytes(32_768, "conjugate gradients") < gib


def test_estimates_tell_their_error(tmp_path, large, capsys):
    run = attribution_of(tmp_path, whole_numbers(100, 64), QUERY)
    run.score(damping="auto")
    facts = attributes(run.out)
    assert facts["kernel_solver"] == "cholesky"
    assert 0 < facts["effective_dimension_error"] < 0.2 * facts["effective_dimension"]
    error = capsys.readouterr().err
    assert "±" in error
    assert "rank at most about 64" in error


def test_what_is_told_about_a_kernel(small, capsys):
    small.score(damping="abs:500")
    line = next(line for line in capsys.readouterr().err.splitlines() if "damping" in line)
    eigenvalues = np.linalg.eigvalsh(TRAIN.astype(np.float64) @ TRAIN.T)
    for part in (
        "lambda = 500",
        f"mean eigenvalue {eigenvalues.mean():.4g}",
        f"degrees of freedom {(eigenvalues / (eigenvalues + 500)).sum():.1f}, ",
        "N = 24, k = 64, rank 24",
        f"condition {(eigenvalues[-1] + 500) / (eigenvalues[0] + 500):.2g}",
    ):
        assert part in line


def test_a_damping_below_float_resolution_gives_a_warning(small, capsys):
    small.score(damping="1e-9")
    assert "warning: damping 1e-9 is below what float32" in capsys.readouterr().err
    small.score(damping="0.1")
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize("damping", ["0", "abs:0", "0,0.1"])
def test_no_damping_for_a_singular_gram_is_refused_naming_the_rank(tmp_path, damping):
    run = attribution_of(tmp_path, TRAIN, QUERY, form="primal")
    with pytest.raises(ConfigurationError, match=r"singular: its rank is about 24.*--damping auto"):
        run.score(damping=damping)
    assert not run.out.exists()


def test_no_damping_for_a_regular_gram_is_the_least_norm_solution(tmp_path):
    run = attribution_of(tmp_path, TRAIN, QUERY, form="dual")
    scores = run.scores(damping="0")
    assert np.allclose(scores, QUERY @ np.linalg.pinv(TRAIN.astype(np.float64)), atol=1e-6)


def test_a_gram_with_nan_is_refused(small):
    with h5py.File(small.gram, "a") as file:
        file["gram"][3, 4] = np.nan
    with pytest.raises(CorruptFileError, match="NaN or inf"):
        small.score()


@pytest.mark.parametrize("transform", ["none", "square"])
def test_shrinkage_is_another_rule_that_needs_no_truth(small, transform):
    scores = small.scores(damping="auto-oas", transform=transform)
    facts = attributes(small.out)
    tau = reference("d-trak", TRAIN, QUERY, facts["damping_absolute"])
    assert close(scores, tau**2 if transform == "square" else tau)
    assert facts["damping"] == "auto-oas"


@pytest.mark.parametrize("rule", ["auto", "auto-oas"])
@pytest.mark.parametrize("count", [24, 200])
def test_a_rule_counts_no_quarantined_sample(tmp_path, rule, count):
    features = whole_numbers(count, 64)
    with_bad = np.insert(features, [0, 3, 9, 9, 20], np.nan, axis=0)
    lambdas = [
        attributes(attribution_of(tmp_path / name, train, QUERY).score(damping=rule).path)
        for name, train in (("good", features), ("bad", with_bad))
    ]
    good, bad = (each["damping_absolute"] for each in lambdas)
    assert bad == pytest.approx(good, rel=1e-6)
