"""Random output probes: their vectors, their gradients, and the stores they go to."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dtrak_stream.data.images import open_images
from dtrak_stream.errors import ConfigurationError, FingerprintMismatchError, InputError
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.parameters import choose_parameters
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.objective.output_functions import OutputFunction
from dtrak_stream.objective.probes import probe_names, probe_signs
from dtrak_stream.store.quarantine import read_quarantine
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.store_set import store_roots
from tests.crashing import finishes_before_step
from tests.small_jobs import (
    ALIKE,
    HOOKED,
    fingerprint_of,
    random_pixels,
    save_images,
    small_job,
    spoil,
    stored,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return save_images(tmp_path_factory.mktemp("images"), random_pixels(5))


def probe_job(model, images, store, name="probe(3)", **changes):
    return small_job(
        model, images, store, **{"output_function": name, "dtype": "float32", **changes}
    )


@given(st.integers(0, 2**40), st.integers(0, 998), st.tuples(*[st.integers(1, 9)] * 3))
def test_a_probe_is_signs_that_depend_on_seed_and_number_only(seed, probe, shape):
    signs = probe_signs(seed, probe, shape, CPU)
    assert (signs.shape, signs.dtype) == (shape, torch.float32)
    assert set(signs.flatten().tolist()) <= {-1.0, 1.0}
    longer = probe_signs(seed, probe, (1000,), CPU)
    assert torch.equal(signs.flatten(), longer[: signs.numel()])


def test_probes_are_balanced_and_independent():
    signs = torch.stack([probe_signs(seed, j, (10_000,), CPU) for seed in (0, 1) for j in (0, 1)])
    products = signs @ signs.T / 10_000
    assert (products - torch.eye(4)).abs().max() < 0.05
    assert signs.mean(dim=1).abs().max() < 0.05


def test_names_of_probes():
    assert probe_names("probe(3)") == ("probe(0/3)", "probe(1/3)", "probe(2/3)")
    assert probe_names("probe(2/3)") == ("probe(2/3)",)
    assert probe_names("square") is None


@pytest.mark.parametrize(
    "name", ["probe(0)", "probe(1000)", "probe(3/3)", "probe(0/0)", "probe(x)"]
)
def test_a_probe_there_is_not_is_refused(model_folder, images, tmp_path, name):
    with pytest.raises(ConfigurationError, match=r"--output-function probe\("):
        featurize(probe_job(model_folder, images, tmp_path / "s", name))
    assert not (tmp_path / "s").exists()


def test_a_probe_multiplies_the_output_by_its_signs():
    schedule = None
    output = torch.randn(4, 2, 5, 6, dtype=torch.float64)
    f = OutputFunction("probe(2/3)", schedule, seed=7)  # type: ignore[arg-type]
    signs = probe_signs(7, 2, (2, 5, 6), CPU).numpy()
    expected = [(each * signs).mean() for each in output.numpy()]
    found = f(output, output, torch.zeros(4, dtype=torch.int64))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def slow_probes(model, images, count, seed):
    """One float64 backward pass for each probe, sample and timestep: (probes, samples, p)."""
    denoiser = load_denoiser(model, dtype=torch.float64)
    chosen = list(choose_parameters(denoiser.network, "all").values())
    source = open_images(str(images), visible=False)
    features = torch.zeros(count, len(source), sum(p.numel() for p in chosen)).double()
    for probe, index, t in np.ndindex(count, len(source), 2):
        time = torch.tensor([(0, 500)[t]])
        noise = ImageNoise(seed).draw((1, 8, 8), sample_id="", pairs=[(int(time), 0)], device=CPU)
        image = source.image(index).double()
        noisy, _ = denoiser.schedule.noisy_and_target(image, noise.double(), time)
        signs = probe_signs(seed, probe, (1, 8, 8), CPU).double()
        value = (denoiser.predict(noisy, time) * signs).mean()
        gradient = torch.autograd.grad(value, chosen)
        features[probe, index] += torch.cat([g.flatten() for g in gradient]) / 2
    return features.float().numpy()


@pytest.mark.parametrize("execution", [ALIKE, HOOKED], ids=lambda execution: execution.engine)
def test_every_probe_has_a_store_of_its_gradients(model_folder, images, tmp_path, execution):
    config = probe_job(
        model_folder,
        f"{images}[:3]",
        tmp_path / "s",
        projector="identity",
        execution=execution,
        seed=4,
    )
    featurize(config)
    expected = slow_probes(model_folder, config.images, 3, seed=4)
    roots = store_roots(config.store)
    assert [root.name for root in roots] == ["probe-000", "probe-001", "probe-002"]
    for root, wanted in zip(roots, expected):
        found = FeatureStore.open(root).rows(range(3))
        errors = np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
        assert errors.max() < 1e-4


@pytest.mark.parametrize("projector", ["sketch", "rademacher"])
def test_a_probe_alone_is_the_same_as_among_others(model_folder, images, tmp_path, projector):
    together = probe_job(
        model_folder, images, tmp_path / "s", projector=projector, execution=HOOKED
    )
    featurize(together)
    for number, root in enumerate(store_roots(together.store)):
        alone = dataclasses.replace(
            together,
            store=tmp_path / str(number),
            features=dataclasses.replace(together.features, output_function=f"probe({number}/3)"),
        )
        featurize(alone)
        assert fingerprint_of(root) == fingerprint_of(alone.store)
        first, second = (FeatureStore.open(path).rows(range(5)) for path in (root, alone.store))
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5 * np.abs(second).max())


def test_one_probe_is_one_store(model_folder, images, tmp_path):
    featurize(probe_job(model_folder, images, tmp_path / "s", "probe(1)"))
    assert store_roots(tmp_path / "s") == (tmp_path / "s",)
    assert fingerprint_of(tmp_path / "s").output_function == "probe(0/1)"


def test_unit_gradients_and_residuals_go_with_probes(model_folder, images, tmp_path):
    options = {
        "timestep_weights": "unit-gradient",
        "projector": "identity",
        "timesteps": "list:500",
    }
    featurize(probe_job(model_folder, images, tmp_path / "s", "probe(2)", **options))
    stores = [FeatureStore.open(root) for root in store_roots(tmp_path / "s")]
    for store in stores:
        lengths = np.linalg.norm(store.rows(range(5)), axis=1)
        np.testing.assert_allclose(lengths, 1, rtol=1e-5)
    assert np.array_equal(stores[0].residuals(), stores[1].residuals())


def test_a_kill_at_any_step_and_a_restart_give_the_same_bytes(model_folder, tmp_path):
    images = save_images(tmp_path / "images", random_pixels(4))
    spoil(images / "001.png")
    whole = probe_job(model_folder, images, tmp_path / "whole", "probe(2)", rows_per_shard=2)
    assert featurize(whole).quarantined == 1
    for step in range(2, 100, 6):
        config = dataclasses.replace(whole, store=tmp_path / str(step))
        finished = finishes_before_step(lambda c=config: featurize(c), step)  # type: ignore[misc]
        featurize(config)
        for root, other in zip(store_roots(config.store), store_roots(whole.store)):
            assert stored(root) == stored(other)
        if finished:
            break
    assert step > 20
    for root in store_roots(whole.store):
        assert [entry.row for entry in read_quarantine(root / "quarantine.jsonl")] == [1]


def test_only_what_is_missing_is_written_again(model_folder, images, tmp_path):
    config = probe_job(model_folder, images, tmp_path / "s")
    featurize(config)
    before = [stored(root) for root in store_roots(config.store)]
    lost = config.store / "probe-001" / "shards" / "00000001.h5"
    kept = config.store / "probe-002" / "shards" / "00000001.h5"
    lost.unlink()
    time = kept.stat().st_mtime_ns
    assert featurize(config).computed == 2
    assert kept.stat().st_mtime_ns == time
    assert [stored(root) for root in store_roots(config.store)] == before
    shutil.rmtree(config.store / "probe-000")
    featurize(config)
    assert [stored(root) for root in store_roots(config.store)] == before


def test_stores_of_other_probes_are_refused(model_folder, images, tmp_path):
    config = probe_job(model_folder, images, tmp_path / "s", "probe(2)")
    featurize(config)
    with pytest.raises(FingerprintMismatchError, match="output_function differs"):
        featurize(probe_job(model_folder, images, tmp_path / "s", "probe(3)"))
    with pytest.raises(InputError, match="not empty and not a feature store"):
        featurize(probe_job(model_folder, images, tmp_path / "s", "square"))
    featurize(probe_job(model_folder, images, tmp_path / "plain", "square"))
    with pytest.raises(InputError, match=r"plain: holds checked\.json, which is none of its 2"):
        featurize(probe_job(model_folder, images, tmp_path / "plain", "probe(2)"))
    (tmp_path / "file").write_text("precious")
    with pytest.raises(InputError, match="not a folder"):
        featurize(probe_job(model_folder, images, tmp_path / "file", "probe(2)"))
