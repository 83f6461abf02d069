"""Features along sampling paths, from the paths that generation saved to the store."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dtrak_stream.data.images import open_images
from dtrak_stream.errors import (
    ConfigurationError,
    FingerprintMismatchError,
    InputError,
    InterruptedRunError,
    MemoryLimitError,
)
from dtrak_stream.features.comparing import refuse_other_features
from dtrak_stream.features.gradient_featurizer import Featurizer
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.generation.configuration import GenerationConfig
from dtrak_stream.generation.run import generate
from dtrak_stream.generation.sampler import Sampler
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.parameters import choose_parameters
from dtrak_stream.model.schedule import DDPMSchedule
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.scoring.scored_images import images_of
from dtrak_stream.store.layout import read_layout
from dtrak_stream.store.quarantine import read_quarantine
from dtrak_stream.store.reader import FeatureStore
from tests.crashing import contents, finishes_before_step
from tests.small_jobs import ALIKE, HOOKED, fingerprint_of, small_job, stored

COUNT, STEPS = 5, 4


def generation(model, out, **changes):
    config = GenerationConfig(
        model=model, out=out, count=COUNT, steps=STEPS, batch_size=2, device="cpu"
    )
    return dataclasses.replace(config, save_trajectory=True, **changes)


@pytest.fixture(scope="module")
def made(model_folder, tmp_path_factory) -> Path:
    """Generated images and their paths."""
    out: Path = tmp_path_factory.mktemp("generated")
    generate(generation(model_folder, out), visible=False)
    return out


def path_job(model, images, store, name="trajectory(averaged)", trajectory=None, **changes):
    options = {"output_function": name, "dtype": "float32", "projector": "identity", **changes}
    job = small_job(model, images, store, **options)
    return dataclasses.replace(job, trajectory=trajectory or images)


def rows_of(config):
    featurize(config)
    store = FeatureStore.open(config.store)
    return store.rows(range(len(store)))


# the paths that generation saves


def test_a_path_leads_to_the_image_by_ddim(model_folder, made):
    """Each x_t follows from the one before by the deterministic DDIM step, to the image."""
    denoiser = load_denoiser(model_folder, dtype=torch.float64)
    assert isinstance(denoiser.schedule, DDPMSchedule)
    kept = denoiser.schedule.alphas_cumprod
    floats = Sampler(load_denoiser(model_folder), "ddim", STEPS, 0.0, 0).sample(range(2))
    for number in range(2):
        path = np.load(made / "trajectory" / f"{number:05d}.npz")
        assert path["timesteps"].tolist() == [750, 500, 250, 0]
        assert path["noisy"].shape == path["predicted"].shape == (STEPS, 1, 8, 8)
        after = [*path["noisy"][1:], floats[number].numpy()]
        for t, noisy, predicted, following in zip(
            path["timesteps"], path["noisy"], path["predicted"], after
        ):
            x = torch.from_numpy(noisy).double()
            noise = denoiser.predict(x[None], torch.tensor([t])).detach()[0]
            clean = ((x - (1 - kept[t]).sqrt() * noise) / kept[t].sqrt()).clamp(-1, 1)
            np.testing.assert_allclose(predicted, clean.numpy(), atol=1e-4)
            left = kept[t - 250] if t else torch.tensor(1.0)
            expected = left.sqrt() * clean + (1 - left).sqrt() * noise
            np.testing.assert_allclose(following, expected.numpy(), atol=2e-3)


def test_the_path_does_not_change_the_image(model_folder, made, tmp_path):
    plain = dataclasses.replace(generation(model_folder, tmp_path), save_trajectory=False)
    generate(plain, visible=False)
    assert contents(tmp_path, "*.png") == contents(made, "*.png")
    assert not (tmp_path / "trajectory").exists()


def test_paths_can_be_asked_for_later(model_folder, made, tmp_path):
    config = generation(model_folder, tmp_path)
    generate(dataclasses.replace(config, save_trajectory=False), visible=False)
    generate(config, visible=False)
    assert contents(tmp_path, "trajectory/*") == contents(made, "trajectory/*")


def test_generation_that_is_killed_goes_on_to_the_same_paths(model_folder, made, tmp_path):
    for step in range(3, 100, 9):
        config = generation(model_folder, tmp_path / str(step))
        finished = finishes_before_step(
            lambda c=config: generate(c, visible=False),  # type: ignore[misc]
            step,
        )
        generate(config, visible=False)
        assert contents(config.out, "trajectory/*") == contents(made, "trajectory/*")
        assert contents(config.out, "*.png") == contents(made, "*.png")
        if finished:
            break
    assert step > 20


def test_paths_that_do_not_fit_in_memory_are_refused(model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("dtrak_stream.generation.run.usable_memory", lambda: 1000)
    with pytest.raises(MemoryLimitError, match="--batch-size 2"):
        generate(generation(model_folder, tmp_path / "out"), visible=False)


# features along them


def slow_path_gradients(model, made, timesteps, draws, seed=0):
    """The gradient of simple at each prediction, noised afresh: (images, pairs, p) float64."""
    denoiser = load_denoiser(model, dtype=torch.float64)
    chosen = list(choose_parameters(denoiser.network, "all").values())
    rows = []
    for number in range(COUNT):
        path = np.load(made / "trajectory" / f"{number:05d}.npz")
        for t in timesteps:
            place = path["timesteps"].tolist().index(t)
            clean = torch.from_numpy(path["predicted"][place]).double()
            for draw in range(draws):
                noise = ImageNoise(seed).draw(
                    (1, 8, 8), sample_id="", pairs=[(t, draw)], device=torch.device("cpu")
                )
                time = torch.tensor([t])
                noisy, target = denoiser.schedule.noisy_and_target(clean, noise.double(), time)
                value = (denoiser.predict(noisy, time) - target).square().mean()
                gradient = torch.autograd.grad(value, chosen)
                rows.append(torch.cat([g.flatten() for g in gradient]))
    return torch.stack(rows).reshape(COUNT, len(timesteps) * draws, -1).numpy()


def assert_rows_close(found, wanted):
    assert (np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)).max() < 1e-4


@pytest.mark.parametrize("execution", [ALIKE, HOOKED], ids=lambda execution: execution.engine)
def test_averaged_is_the_mean_over_the_whole_path(model_folder, made, tmp_path, execution):
    config = path_job(model_folder, made, tmp_path / "s", execution=execution, noise_draws=2)
    expected = slow_path_gradients(model_folder, made, (750, 500, 250, 0), 2).mean(axis=1)
    assert_rows_close(rows_of(config), expected)
    found = fingerprint_of(config.store)
    assert found.output_function == "trajectory(averaged)"
    assert found.timesteps == (750, 500, 250, 0)


@pytest.mark.parametrize("execution", [ALIKE, HOOKED], ids=lambda execution: execution.engine)
def test_one_step_is_the_sum_over_draws_at_one_timestep(model_folder, made, tmp_path, execution):
    config = path_job(
        model_folder,
        made,
        tmp_path / "s",
        "trajectory(one-step)",
        timesteps="list:500",
        noise_draws=3,
        execution=execution,
    )
    expected = slow_path_gradients(model_folder, made, (500,), 3).sum(axis=1)
    assert_rows_close(rows_of(config), expected)
    assert fingerprint_of(config.store).timesteps == (500,)


def test_a_part_of_the_images_has_its_own_paths(model_folder, made, tmp_path):
    whole = rows_of(path_job(model_folder, made, tmp_path / "s"))
    part = path_job(model_folder, f"{made}[2:4]", tmp_path / "t", trajectory=made / "trajectory")
    np.testing.assert_allclose(rows_of(part), whole[2:4], rtol=1e-5, atol=1e-7)


def test_float_images_find_their_paths_by_row(model_folder, made, tmp_path):
    generate(generation(model_folder, tmp_path / "out", float_images=True), visible=False)
    floats = path_job(
        model_folder, tmp_path / "out" / "images.npy", tmp_path / "s", trajectory=tmp_path / "out"
    )
    whole = path_job(model_folder, made, tmp_path / "t")
    assert np.array_equal(rows_of(floats), rows_of(whole))


def test_half_a_run_goes_on_to_the_same_bytes(model_folder, made, tmp_path, monkeypatch):
    whole = path_job(model_folder, made, tmp_path / "whole")
    featurize(whole)
    config = dataclasses.replace(whole, store=tmp_path / "s")
    features, calls = Featurizer.features, list[tuple[str, ...]]()

    def once(self, batch):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(batch.ids)
        return features(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Featurizer, "features", once)
        with pytest.raises(InterruptedRunError):
            featurize(config)
    featurize(config)
    assert stored(config.store) == stored(whole.store)


def copy_of(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "copy"))


def test_damaged_and_foreign_paths_are_quarantined(model_folder, made, tmp_path):
    copy = copy_of(made, tmp_path)
    paths = copy / "trajectory"
    content = (paths / "00001.npz").read_bytes()
    (paths / "00001.npz").write_bytes(content[: len(content) // 2])
    shutil.copy(paths / "00000.npz", paths / "00002.npz")
    arrays = dict(np.load(paths / "00003.npz"))
    arrays["predicted"][1] = np.nan
    np.savez(paths / "00003.npz", **arrays)
    assert featurize(path_job(model_folder, copy, tmp_path / "s")).quarantined == 3
    entries = read_quarantine(tmp_path / "s" / "quarantine.jsonl")
    assert [(entry.row, entry.reason) for entry in entries] == [
        (1, "its trajectory cannot be read"),
        (2, "its trajectory ends in another image"),
        (3, "its trajectory holds NaN or inf"),
    ]


def test_other_paths_are_another_store(model_folder, made, tmp_path):
    copy = copy_of(made, tmp_path)
    featurize(path_job(model_folder, copy, tmp_path / "s"))
    arrays = dict(np.load(copy / "trajectory" / "00003.npz"))
    arrays["predicted"] *= 0.5
    np.savez(copy / "trajectory" / "00003.npz", **arrays)
    with pytest.raises(FingerprintMismatchError, match="images differs"):
        featurize(path_job(model_folder, copy, tmp_path / "s"))


def test_missing_paths_are_refused_with_what_makes_them(model_folder, made, tmp_path):
    config = path_job(model_folder, made, tmp_path / "s")
    unsaid = dataclasses.replace(config, trajectory=None)
    with pytest.raises(ConfigurationError, match=r"dtrak-stream generate .*--save-trajectory"):
        featurize(unsaid)
    copy = copy_of(made, tmp_path)
    (copy / "trajectory" / "00003.npz").unlink()
    with pytest.raises(InputError, match=r"no trajectory of 1 images, such as 00003\.png.*--save"):
        featurize(path_job(model_folder, copy, tmp_path / "s"))
    shutil.rmtree(copy / "trajectory")
    with pytest.raises(InputError, match=r"holds no trajectory; .*--save-trajectory"):
        featurize(path_job(model_folder, copy, tmp_path / "s"))
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "trajectory(both)"}, r"trajectory\(both\): unknown output function"),
        ({"name": "trajectory(one-step)"}, "--timesteps list:0,500: .*such as list:250"),
        ({"name": "trajectory(one-step)", "timesteps": "list:7"}, "--timesteps list:7: "),
        ({"timestep_weights": "unit-gradient"}, "--timestep-weights unit-gradient"),
        ({"name": "simple"}, "--trajectory .*only features along sampling paths"),
    ],
)
def test_options_that_do_not_go_with_paths_are_refused(
    model_folder, made, tmp_path, changes, message
):
    with pytest.raises(ConfigurationError, match=message):
        featurize(path_job(model_folder, made, tmp_path / "s", **changes))


def test_features_along_paths_are_compared_with_those_of_simple(model_folder, made, tmp_path):
    plain_job = small_job(
        model_folder, made, tmp_path / "plain", output_function="simple", projector="identity"
    )
    featurize(plain_job)
    featurize(path_job(model_folder, made, tmp_path / "along"))
    plain, along = (fingerprint_of(tmp_path / name) for name in ("plain", "along"))
    refuse_other_features(plain, along, where="store")


def test_the_images_that_paths_lead_to_are_told_beside_the_fingerprint(
    model_folder, made, tmp_path
):
    store = featurize(path_job(model_folder, made, tmp_path / "paths")).path
    layout = read_layout(store)
    images = open_images(str(made), visible=False).identity()
    assert images_of(layout) == images != layout.fingerprint.images
