"""Folders in which a model may lie: what diffusers finds is found, anything else is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers.training_utils import EMAModel

from dtrak_stream.errors import InputError, ModelError
from dtrak_stream.model.layout import find_model
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.options import LoadingOptions
from tests.conftest import build_unet
from tests.model.folders import WEIGHTS, editing, editing_weights, pipeline


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return pipeline(tmp_path_factory.mktemp("saved"), num_train_timesteps=20)


@pytest.fixture
def folder(tmp_path, saved) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "m"))


def answers(folder: Path) -> torch.Tensor:
    noisy = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8)
    with torch.inference_mode():
        return load_denoiser(str(folder)).predict(noisy, torch.tensor([7]))


def test_parts_beside_the_index_are_found(folder):
    expected = answers(folder)
    for name in ("unet", "scheduler"):
        for path in list((folder / name).iterdir()):
            path.rename(folder / path.name)
        (folder / name).rmdir()
    found = find_model(folder)
    assert (found.network, found.scheduler, found.class_name) == (folder, folder, "UNet2DModel")
    assert torch.equal(answers(folder), expected)


def test_the_network_of_a_pipeline_is_found_with_the_scheduler_beside_it(folder):
    assert torch.equal(answers(folder / "unet"), answers(folder))


def test_a_network_alone_with_its_scheduler_in_one_folder_is_found(folder):
    shutil.copy(folder / "scheduler" / "scheduler_config.json", folder / "unet")
    alone = folder.rename(folder.with_name("other")) / "unet"
    shutil.rmtree(alone.parent / "scheduler")
    (alone.parent / "model_index.json").unlink()
    assert find_model(alone).scheduler == alone


def test_a_network_without_a_scheduler_is_refused_with_how_to_save_one(folder):
    shutil.rmtree(folder / "scheduler")
    (folder / "model_index.json").unlink()
    with pytest.raises(InputError, match=r"no scheduler.*DDPMScheduler\(\.\.\.\)\.save_pretrained"):
        find_model(folder / "unet")


@pytest.fixture
def checkpoint(tmp_path, saved) -> Path:
    """A folder of diffusers' training script, with raw weights and averaged ones."""
    run = Path(shutil.copytree(saved, tmp_path / "run"))
    shutil.rmtree(run / "unet")
    (run / "model_index.json").unlink()
    build_unet(seed=1).save_pretrained(run / "checkpoint-500" / "unet")
    average = build_unet(seed=2)
    EMAModel(
        average.parameters(), model_cls=type(average), model_config=average.config
    ).save_pretrained(run / "checkpoint-500" / "unet_ema")
    return run / "checkpoint-500"


def test_a_checkpoint_of_training_gives_its_raw_weights_and_names_the_others(checkpoint):
    assert find_model(checkpoint).network == checkpoint / "unet"
    described = load_denoiser(str(checkpoint)).description
    assert f"raw weights of unet/ (for the averaged ones name {checkpoint}/unet_ema)" in described
    expected = build_unet(seed=1).eval()(torch.zeros(1, 1, 8, 8), 7).sample
    found = load_denoiser(str(checkpoint)).predict(torch.zeros(1, 1, 8, 8), torch.tensor([7]))
    torch.testing.assert_close(found, expected)


def test_the_averaged_weights_of_a_checkpoint_are_taken_where_named_or_alone(checkpoint):
    named = answers(checkpoint / "unet_ema")
    assert not torch.equal(named, answers(checkpoint))
    shutil.rmtree(checkpoint / "unet")
    assert "EMA weights of unet_ema/" in load_denoiser(str(checkpoint)).description
    assert torch.equal(answers(checkpoint), named)


def test_averaged_weights_that_were_renamed_are_known_by_their_options(checkpoint):
    shutil.rmtree(checkpoint / "unet")
    (checkpoint / "unet_ema").rename(checkpoint / "unet")
    assert find_model(checkpoint).kind_of_weights == "EMA weights of unet/"


def test_weights_of_a_pipeline_are_as_saved(folder):
    assert find_model(folder).kind_of_weights == "weights as saved in unet/"


@pytest.mark.parametrize(
    ("part", "class_name"),
    [
        ("text_encoder", "CLIPTextModel"),
        ("image_encoder", "CLIPVisionModelWithProjection"),
    ],
)
@pytest.mark.parametrize("named", ["", "unet"])
def test_a_pipeline_with_a_further_part_is_refused_by_its_name(folder, part, class_name, named):
    with editing(folder / "model_index.json") as index:
        index[part] = ["diffusers", class_name]
    with pytest.raises(
        ModelError, match=rf"has a {part} \({class_name}\), which nothing is known of"
    ):
        load_denoiser(str(folder / named))


def test_parts_that_were_left_out_and_plain_options_are_no_parts(folder):
    with editing(folder / "model_index.json") as index:
        index |= {"safety_checker": [None, None], "requires_safety_checker": False}
    assert find_model(folder).class_name == "UNet2DModel"


@pytest.mark.parametrize(
    ("removed", "problem"),
    [
        ("unet/config.json", r"unet/config\.json: is not there: a configuration of a network"),
        ("scheduler/scheduler_config.json", r"is not there: a configuration of a scheduler"),
    ],
)
def test_a_pipeline_that_lacks_a_part_is_refused(folder, removed, problem):
    (folder / removed).unlink()
    with pytest.raises(InputError, match=problem):
        load_denoiser(str(folder))


def test_parts_have_folders_of_their_own_or_none_at_all(folder):
    """As diffusers has it: what lies beside the index is not looked at where there is a folder."""
    shutil.move(folder / "unet" / "config.json", folder / "config.json")
    with pytest.raises(InputError, match=r"unet/config\.json: is not there"):
        load_denoiser(str(folder))


def test_a_folder_of_something_else_is_refused_with_what_would_do(tmp_path):
    with pytest.raises(InputError, match=r"no model_index\.json.*pipeline folder.*checkpoint-N"):
        find_model(tmp_path)


@pytest.mark.parametrize(
    ("class_name", "needs"),
    [
        (
            "UNet3DConditionModel",
            "class UNet3DConditionModel, which needs encoder_hidden_states; give",
        ),
        ("UNet1DModel", "class UNet1DModel; give a pipeline"),
        (None, "unknown denoiser class None; give"),
    ],
)
def test_a_network_of_another_class_is_refused_with_what_it_needs(folder, class_name, needs):
    with editing(folder / "model_index.json") as index:
        index["unet"] = ["diffusers", class_name]
    with pytest.raises(ModelError, match=needs):
        load_denoiser(str(folder))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"_class_name": "UNet3DConditionModel"}, "of another class, UNet3DConditionModel"),
        ({"kernel_of_time": 3}, "unknown option kernel_of_time: 3"),
    ],
)
def test_a_network_that_is_not_what_the_index_says_is_refused(folder, change, problem):
    with editing(folder / "unet" / "config.json") as config:
        config |= change
    with pytest.raises(ModelError, match=problem):
        load_denoiser(str(folder))


def test_the_line_about_a_model_tells_all_that_was_found(folder):
    parameters = sum(each.numel() for each in build_unet().parameters())
    assert load_denoiser(str(folder)).description == (
        f"{folder}: UNet2DModel of 1x8x8 samples, predicts epsilon, linear noise over 20 timesteps "
        f"(DDPMScheduler), {parameters:,} parameters, weights as saved in unet/"
    )


def test_the_class_of_a_network_alone_is_that_of_its_own_configuration(folder):
    (folder / "model_index.json").unlink()
    (folder / "unet" / "config.json").write_text(json.dumps({"_class_name": "DiTModel"}))
    assert (folder / "unet" / WEIGHTS).is_file()
    with pytest.raises(ModelError, match=r"unknown denoiser class DiTModel"):
        load_denoiser(str(folder / "unet"))


def test_a_network_alone_needs_a_configuration_that_is_one(folder):
    path = folder / "unet" / "config.json"
    path.write_text("[]")
    with pytest.raises(InputError) as refusal:
        find_model(folder / "unet")
    assert str(refusal.value) == (
        f"{path}: is no configuration of a network; save the pipeline again"
    )


def training_run(folder: Path) -> Path:
    """Leave two networks as training does: the last one, and the average."""
    shutil.copytree(folder / "unet", folder / "checkpoint-5" / "unet")
    shutil.copytree(folder / "unet", folder / "checkpoint-5" / "unet_ema")
    with editing_weights(folder / "checkpoint-5" / "unet_ema") as weights:
        weights["conv_out.bias"] += 1
    return folder / "checkpoint-5"


def weight_of(denoiser) -> torch.Tensor:
    found: torch.Tensor = denoiser.network.get_parameter("conv_out.bias")
    return found


def test_raw_and_averaged_weights_are_told_apart(folder):
    checkpoint = training_run(folder)
    for named in (checkpoint, checkpoint / "unet", checkpoint / "unet_ema"):
        assert find_model(named, "raw").network.name == "unet"
        assert find_model(named, "ema").network.name == "unet_ema"
    assert find_model(checkpoint).network.name == "unet"
    raw, averaged = (
        load_denoiser(str(checkpoint), LoadingOptions(weights=which)) for which in ("raw", "ema")
    )
    assert torch.equal(weight_of(averaged), weight_of(raw) + 1)
    assert "EMA weights of unet_ema/" in averaged.description
    with pytest.raises(InputError, match="there is no unet_ema/ beside unet/"):
        find_model(folder, "ema")


def test_weights_that_accelerate_left_are_those_of_the_network_of_the_run(folder):
    state = folder / "checkpoint-7" / "model.safetensors"
    state.parent.mkdir()
    shutil.copy(folder / "unet" / WEIGHTS, state)
    with editing_weights(folder / "unet") as weights:
        weights["conv_out.bias"] += 1
    denoiser, last = load_denoiser(str(state.parent)), load_denoiser(str(folder))
    assert torch.equal(weight_of(last), weight_of(denoiser) + 1)
    assert f"raw weights of {state}" in denoiser.description
    shutil.rmtree(folder / "unet")
    with pytest.raises(InputError, match=r"not what network they are of; save the configuration"):
        load_denoiser(str(state.parent))


def test_a_lora_alone_is_refused_with_how_to_give_it(tmp_path):
    (tmp_path / "pytorch_lora_weights.safetensors").touch()
    with pytest.raises(InputError, match=rf"and this one as --lora {tmp_path}"):
        load_denoiser(str(tmp_path))
