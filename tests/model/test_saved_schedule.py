"""Schedulers that were saved with a model: the noise of training, or a refusal by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from dtrak_stream.errors import InputError, ModelError
from dtrak_stream.model.saved_schedule import DDPM_FAMILY, SavedSchedule, read_ddpm_schedule
from dtrak_stream.model.schedule import DDPMSchedule

# of schedulers that make NumPy arrays of tensors
pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")

FEW = {"num_train_timesteps": 20, "beta_start": 0.001, "beta_end": 0.3}
READABLE = [name for name in DDPM_FAMILY if not hasattr(getattr(diffusers, name), "_backends")]
OTHERS = [
    *("ScoreSdeVeScheduler", "EDMEulerScheduler", "FlowMatchEulerDiscreteScheduler"),
    *("CMStochasticIterativeScheduler", "KarrasVeScheduler", "IPNDMScheduler", "LCMScheduler"),
    *("CogVideoXDDIMScheduler", "SomeoneElsesScheduler"),
]


def written(folder: Path, **config: object) -> Path:
    (folder / "scheduler_config.json").write_text(json.dumps(config))
    return folder


def read(folder: Path, name: str = "DDPMScheduler", **options: Any) -> SavedSchedule:
    return read_ddpm_schedule(written(folder, _class_name=name, **options))


def ddpm(saved: SavedSchedule) -> DDPMSchedule:
    assert isinstance(saved.schedule, DDPMSchedule)
    return saved.schedule


def kept_by_hand(betas: torch.Tensor) -> torch.Tensor:
    return torch.cumprod(1 - betas.double(), dim=0)


@pytest.mark.parametrize("name", READABLE)
def test_every_sampler_of_the_family_has_the_noise_of_its_betas(tmp_path, name):
    getattr(diffusers, name)(**FEW, beta_schedule="scaled_linear").save_pretrained(tmp_path)
    saved = read_ddpm_schedule(tmp_path)
    betas = torch.linspace(0.001**0.5, 0.3**0.5, 20, dtype=torch.float64) ** 2
    schedule = ddpm(saved)
    torch.testing.assert_close(schedule.alphas_cumprod, kept_by_hand(betas), rtol=1e-5, atol=0)
    assert saved.predicts == schedule.prediction_type == "epsilon"
    assert not saved.learns_variance
    assert saved.description == f"scaled_linear noise over 20 timesteps ({name})"


@pytest.mark.parametrize("name", READABLE)
@pytest.mark.parametrize("sampler", [DDPMScheduler, DDIMScheduler])
def test_samplers_made_of_what_is_handed_on_have_the_same_betas(tmp_path, name, sampler):
    saved = read(tmp_path, name)  # all but the defaults of this class left out
    again = sampler.from_config(saved.config)
    assert torch.equal(again.betas.double(), ddpm(saved).betas)


def test_a_class_with_defaults_of_its_own_is_read_by_them(tmp_path):
    betas = torch.linspace(0.00085, 0.012, 1000, dtype=torch.float64)
    found = ddpm(read(tmp_path, "HeunDiscreteScheduler")).alphas_cumprod
    torch.testing.assert_close(found, kept_by_hand(betas), rtol=1e-5, atol=0)


@pytest.mark.parametrize("sampler", [DDPMScheduler, DDIMScheduler])
@pytest.mark.parametrize(
    "options",
    [
        {"beta_schedule": "sigmoid"},
        {"beta_schedule": "laplace"},
        {"rescale_betas_zero_snr": True},
        {"trained_betas": [0.1, 0.2, 0.4], "num_train_timesteps": 3},
    ],
)
def test_rarer_betas_reach_samplers_too(tmp_path, options, sampler):
    saved = read(tmp_path, **options)
    assert torch.equal(sampler.from_config(saved.config).betas.double(), ddpm(saved).betas)


@pytest.mark.parametrize(
    "name", ["DDPMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"]
)
def test_nothing_is_kept_at_the_end_of_a_zero_snr_schedule_whatever_the_sampler(tmp_path, name):
    saved = read(tmp_path, name, rescale_betas_zero_snr=True, prediction_type="v_prediction")
    assert ddpm(saved).alphas_cumprod[-1] == 0
    assert ddpm(saved).prediction_type == "v_prediction"
    assert saved.description.startswith("zero-SNR linear")


@pytest.mark.parametrize("name", OTHERS)
def test_a_scheduler_of_another_kind_is_refused_by_its_class(tmp_path, name):
    with pytest.raises(ModelError, match=rf"{name} is not of the DDPM family; save the scheduler"):
        read(tmp_path, name)


@pytest.mark.parametrize("name", sorted(set(DDPM_FAMILY) - set(READABLE)))
def test_a_scheduler_that_needs_a_package_is_refused_by_its_name(tmp_path, name):
    with pytest.raises(ModelError, match=rf"{name} cannot be made \(ImportError: .*requires"):
        read(tmp_path, name, **FEW)


@pytest.mark.parametrize("config", [{}, {"beta_start": 0.1}, {"_class_name": None}])
def test_a_scheduler_without_a_class_is_refused(tmp_path, config):
    with pytest.raises(ModelError, match="names no class"):
        read_ddpm_schedule(written(tmp_path, **config))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"beta_schedule": "cosine9"}, "unknown beta_schedule 'cosine9' of DDPMScheduler"),
        ({"prediction_type": "flow_prediction"}, "unknown prediction type 'flow_prediction'"),
        ({"variance_type": "guessed"}, "variance_type: 'guessed' is not understood"),
        ({"use_flow_sigmas": True}, "use_flow_sigmas: True is not understood"),
        ({"timestep_type": "continuous"}, "timestep_type: 'continuous' is not understood"),
        ({"snr_shift_scale": 3.0}, "snr_shift_scale: 3.0 is not understood"),
        ({"warp_of_time": 2}, "unknown option warp_of_time: 2"),
        ({"warp_of_time": True}, "unknown option warp_of_time: True"),
        ({"beta_start": 0.5, "beta_end": 1.5}, "betas from 0.5 to 1.5 are no variances"),
        ({"beta_end": float("nan")}, "are no variances"),
        ({"trained_betas": [0.1, 0.2]}, "2 trained_betas for 1000 timesteps"),
        ({"beta_start": "little"}, "DDPMScheduler cannot be made"),
        ({"predict_epsilon": False, "prediction_type": "epsilon"}, "predict_epsilon: false means"),
        ({"predict_epsilon": True, "prediction_type": "sample"}, "predict_epsilon: true means"),
    ],
)
def test_an_option_that_is_not_understood_is_refused_by_name(tmp_path, options, problem):
    options = {"num_train_timesteps": 1000, **options}
    with pytest.raises(ModelError) as refusal:
        read(tmp_path, **options)
    assert problem in str(refusal.value)
    assert "scheduler_config.json" in refusal.value.where


def test_an_option_that_its_class_would_not_look_at_is_refused(tmp_path):
    with pytest.raises(ModelError, match="rescale_betas_zero_snr: True has no meaning for PNDM"):
        read(tmp_path, "PNDMScheduler", rescale_betas_zero_snr=True)


def test_options_of_other_samplers_and_first_versions_are_no_hindrance(tmp_path):
    options: dict[str, Any] = {
        "skip_prk_steps": True,
        "set_alpha_to_one": False,
        "tensor_format": "pt",
    }
    saved = read(tmp_path, **options, timestep_values=None, unheard_of=None, _of_a_program="x")
    assert saved.schedule.identity == read(tmp_path).schedule.identity


@pytest.mark.parametrize(
    ("options", "predicts"),
    [
        ({"predict_epsilon": False}, "sample"),
        ({"predict_epsilon": True}, "epsilon"),
        ({"predict_epsilon": None, "prediction_type": "v_prediction"}, "v_prediction"),
        ({"predict_epsilon": False, "prediction_type": "sample"}, "sample"),
    ],
)
def test_the_older_name_of_the_prediction_is_understood(tmp_path, options, predicts):
    saved = read(tmp_path, **options)
    assert saved.predicts == saved.config["prediction_type"] == predicts
    assert "predict_epsilon" not in saved.config


@pytest.mark.parametrize("kind", ["learned", "learned_range"])
def test_a_learned_variance_is_seen(tmp_path, kind):
    assert read(tmp_path, variance_type=kind).learns_variance
    assert not read(tmp_path, variance_type="fixed_large").learns_variance


@pytest.mark.parametrize(("text", "problem"), [("{", "not readable as JSON"), ("[]", "is no conf")])
def test_a_scheduler_that_cannot_be_read_is_refused(tmp_path, text, problem):
    (tmp_path / "scheduler_config.json").write_text(text)
    with pytest.raises(InputError, match=problem):
        read_ddpm_schedule(tmp_path)
