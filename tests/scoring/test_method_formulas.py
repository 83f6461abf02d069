"""Each method of features against a few lines of NumPy, its sign, and the stores it takes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dtrak_stream.scoring.normalisation as normalisation_module
import dtrak_stream.scoring.plan as plan_module
from dtrak_stream.errors import ConfigurationError, FingerprintMismatchError
from dtrak_stream.methods import METHODS
from dtrak_stream.scoring.run import score
from dtrak_stream.store.layout import StoreLayout
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.support.durable import write_json
from tests.conftest import store_of
from tests.scoring.conftest import (
    Attribution,
    attributes,
    attribution_of,
    close,
    read,
    whole_numbers,
    with_residuals,
)
from tests.scoring.formulas import reference

OF_FEATURES = [name for name, one in METHODS.items() if one.needs not in ("subsets", "streams")]
NORMALISED = ["gradient-cosine", "relative-if", "renorm-if", "das"]
TRAIN, QUERY = whole_numbers(24, 64), whole_numbers(5, 64, 1)
RESIDUAL = np.random.default_rng(5).uniform(0.1, 1, 24).astype(np.float32)
DAMPING = 300.0


def run_of(folder, method, train=TRAIN, query=QUERY, residual=RESIDUAL, **options) -> Attribution:
    """Stores with what the method needs."""
    needs = METHODS[method]
    function = needs.streams[0].output_function
    run = attribution_of(folder, train, query, output_function=function, **options)
    if method == "das":
        queries = with_residuals(run.query, np.ones(len(query)))
        run = dataclasses.replace(run, train=with_residuals(run.train, residual), query=queries)
        run.gram.unlink()
        return run.make_gram(options.get("form", "auto"))
    if needs.query_output_function is not None:
        query_store = store_of(folder / "along", query, images="query")
        along = dataclasses.replace(
            query_store.fingerprint,
            output_function=needs.query_output_function,
            timesteps=(0, 20, 40),
        )
        layout = StoreLayout(query_store.layout.root, along)
        return dataclasses.replace(run, query=rewritten(query_store, layout))
    return run


def rewritten(store, layout) -> FeatureStore:
    """The same rows under another fingerprint."""
    from dtrak_stream.store.shard import write_shard

    for shard in range(layout.num_shards):
        content = store.shard(shard)
        content = dataclasses.replace(content, features=np.array(content.features))
        write_shard(layout.shard_path(shard), content, layout.fingerprint.hash())
    write_json(layout.plan_path, layout.plan())
    return FeatureStore.open(layout.root)


@pytest.mark.parametrize("form", ["primal", "dual"])
@pytest.mark.parametrize("method", OF_FEATURES)
def test_each_method_is_its_formula(tmp_path, method, form):
    run = run_of(tmp_path, method, form=form)
    scores = run.scores(method=method, damping=f"abs:{DAMPING}")
    assert close(scores, reference(method, TRAIN, QUERY, DAMPING, RESIDUAL))
    facts = attributes(run.out)
    assert facts["method"] == method
    assert ("damping_absolute" in facts) == METHODS[method].uses_kernel


@pytest.mark.parametrize("transform", ["square", "signed-square", "abs"])
@pytest.mark.parametrize("method", ["gradient-cosine", "renorm-if", "trak"])
def test_any_first_order_score_can_be_squared_or_made_absolute(tmp_path, method, transform):
    run = run_of(tmp_path, method)
    scores = run.scores(method=method, damping=f"abs:{DAMPING}", transform=transform)
    tau = reference(method, TRAIN, QUERY, DAMPING)
    expected = {"square": tau**2, "signed-square": tau * np.abs(tau), "abs": np.abs(tau)}
    assert close(scores, expected[transform])


@pytest.mark.parametrize("method", OF_FEATURES)
def test_a_training_image_is_its_own_strongest_proponent(tmp_path, method):
    # of equal lengths, so that no other image wins by being longer
    train = np.random.default_rng(0).normal(size=(24, 64))
    train /= np.linalg.norm(train, axis=1, keepdims=True)
    run = run_of(tmp_path, method, train, train, residual=np.full(24, 0.5))
    run.score(method=method, damping="0.1", top_k=1)
    content = read(run.out)
    assert content["top_index"][:, 0].tolist() == list(range(24))
    assert (content["top_score"] > 0).all()


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=8
)
@given(
    method=st.sampled_from(NORMALISED),
    rows_per_shard=st.sampled_from([1, 7, 24]),
    rows_per_part=st.sampled_from([1, 7, 24]),
    rows_at_a_time=st.sampled_from([1, 7, 24]),
    query_blocks=st.sampled_from([1, 3]),
    form=st.sampled_from(["primal", "dual"]),
)
def test_any_cut_into_blocks_gives_the_same_normalised_scores(
    tmp_path_factory,
    monkeypatch,
    method,
    rows_per_shard,
    rows_per_part,
    rows_at_a_time,
    query_blocks,
    form,
):
    monkeypatch.setattr(plan_module, "_ROWS_PER_PART", rows_per_part)
    monkeypatch.setattr(normalisation_module, "ROWS_AT_A_TIME", rows_at_a_time)
    run = run_of(tmp_path_factory.mktemp("cut"), method, form=form, rows_per_shard=rows_per_shard)
    options = {"method": method, "damping": f"abs:{DAMPING}"}
    limit = run.smallest_limit(query_blocks, **options)
    scores = read(run.score(memory_limit=limit, save_scores="yes", **options).path)["scores"]
    assert close(scores, reference(method, TRAIN, QUERY, DAMPING, RESIDUAL))


@pytest.mark.parametrize("method", ["gradient-cosine", "relative-if", "renorm-if"])
@pytest.mark.parametrize("form", ["primal", "dual"])
def test_a_feature_of_zeros_has_the_score_zero_however_it_is_normalised(tmp_path, method, form):
    train, query = TRAIN.copy(), QUERY.copy()
    train[3], query[1] = 0, 0
    scores = run_of(tmp_path, method, train, query, form=form).scores(method=method, damping="0.1")
    assert not scores[:, 3].any()
    assert not scores[1].any()
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("method", NORMALISED)
@pytest.mark.parametrize("form", ["primal", "dual"])
def test_quarantined_samples_change_no_normalised_score(tmp_path, method, form):
    train = TRAIN.copy()
    train[[3, 20]] = np.nan
    options = {"method": method, "damping": f"abs:{DAMPING}"}
    scores = run_of(tmp_path, method, train, form=form).scores(**options)
    used = np.delete(np.arange(24), [3, 20])
    expected = reference(method, TRAIN[used], QUERY, DAMPING, RESIDUAL[used])
    assert close(scores[:, used], expected)
    assert np.isnan(scores[:, [3, 20]]).all()


def test_a_method_without_a_kernel_needs_no_gram_and_no_damping(tmp_path):
    run = run_of(tmp_path, "gradient-dot")
    config = dataclasses.replace(run.config(method="gradient-dot"), gram=None)
    run.gram.unlink()
    score(config)
    assert close(read(run.out)["scores"], QUERY @ TRAIN.T)
    assert attributes(run.out)["damping"] == "none"


def test_a_method_with_a_kernel_is_refused_without_its_gram(small):
    config = dataclasses.replace(small.config(), gram=None)
    with pytest.raises(
        ConfigurationError, match=r"--gram: d-trak needs the Gram.*dtrak-stream gram"
    ):
        score(config)


@pytest.mark.parametrize("method", ["empirical-influence", "datamodel"])
def test_methods_of_retrained_subsets_are_refused_naming_the_truth_file(small, method):
    with pytest.raises(ConfigurationError, match=r"retrained.*--truth truth\.npz"):
        small.score(method=method)
    assert not small.out.exists()


def test_das_is_refused_without_residuals_with_the_command_that_makes_them(tmp_path):
    run = attribution_of(tmp_path, TRAIN, QUERY, output_function="avg")
    with pytest.raises(ConfigurationError, match=r"das needs.*--timestep-weights unit-gradient"):
        run.score(method="das")
    assert not run.out.exists()


@pytest.mark.parametrize("form", ["primal", "dual"])
def test_das_is_refused_where_a_leverage_is_not_below_one(tmp_path, form):
    train = TRAIN.copy()
    train[0] = 0
    train[0, 0] = 2**20  # nothing but rounding keeps its leverage from being one
    run = run_of(tmp_path, "das", train, form=form)
    with pytest.raises(ConfigurationError, match="leverage of a training sample"):
        run.score(method="das", damping="abs:1e-9")


@pytest.mark.parametrize(
    ("method", "found", "remedy"),
    [
        ("pixel-dot", "square", "--output-function pixels"),
        ("clip-cosine", "square", "--output-function clip"),
        ("pixel-rbf", "square", r"--output-function rff\(pixels\)"),
        ("activation-rbf", "square", r"--output-function rff\(activation\(auto\)\)"),
        ("das", "square", "--output-function avg"),
        ("journey-trak", "square", "--output-function simple"),
    ],
)
def test_features_of_another_kind_are_refused_with_the_right_one(small, method, found, remedy):
    with pytest.raises(ConfigurationError, match=f"{method} takes features of .*{remedy}"):
        small.score(method=method)


def test_journey_trak_is_refused_without_a_sampling_path(tmp_path):
    run = attribution_of(tmp_path, TRAIN, QUERY, output_function="simple")
    with pytest.raises(ConfigurationError) as refusal:
        run.score(method="journey-trak")
    for part in ("queries of trajectory(one-step), not of simple", "--save-trajectory"):
        assert part in str(refusal.value)


def test_the_two_variants_of_journey_trak_do_not_take_each_others_queries(tmp_path):
    run = run_of(tmp_path, "journey-trak")
    with pytest.raises(ConfigurationError, match=r"queries of trajectory\(averaged\)"):
        run.score(method="journey-trak-averaged")


def test_other_methods_take_no_queries_along_a_path(tmp_path):
    run = run_of(tmp_path, "journey-trak")
    with pytest.raises(ConfigurationError, match=r"trak takes no queries of trajectory.*journey"):
        run.score(method="trak")


def test_a_sampling_path_of_another_model_is_refused(tmp_path):
    run = run_of(tmp_path, "journey-trak")
    other = dataclasses.replace(run.query.fingerprint, weights="another checkpoint")
    layout = StoreLayout(run.query.layout.root, other)
    write_json(layout.plan_path, layout.plan())
    with pytest.raises(FingerprintMismatchError, match="weights differs"):
        run.score(method="journey-trak")
