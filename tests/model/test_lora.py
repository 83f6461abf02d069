"""LoRA weights in every naming: the network answers as with W + scale alpha / r up down."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from diffusers import FluxTransformer2DModel, UNet2DConditionModel
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import save_file
from torch import nn

from dtrak_stream.errors import ConfigurationError, InputError, ModelError
from dtrak_stream.model.lora import apply_loras
from dtrak_stream.model.lora_files import find_lora, read_lora
from dtrak_stream.model.options import LoraOptions
from dtrak_stream.model.parameters import weights_hash

RANK = 2
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


def small_unet(**options) -> UNet2DConditionModel:
    torch.manual_seed(0)
    defaults = {
        "sample_size": 4,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "cross_attention_dim": 12,
        "attention_head_dim": 4,
        "norm_num_groups": 4,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }
    return UNet2DConditionModel(**defaults | options).double().eval()


@pytest.fixture(scope="module")
def unet():
    return small_unet()


@pytest.fixture(scope="module")
def factors(unet):
    return factors_of(unet, ATTENTION)


def factors_of(network, endings):
    """Return (down, up) of all layers whose names end so."""
    torch.manual_seed(1)
    return {
        name: (
            torch.randn(RANK, module.in_features).double(),
            torch.randn(module.out_features, RANK).double(),
        )
        for name, module in network.named_modules()
        if name.endswith(endings)
    }


def answer(network, timestep=3):
    generator = torch.Generator().manual_seed(2)
    noisy = torch.randn(2, 4, 4, 4, generator=generator).double()
    told = torch.randn(2, 5, 12, generator=generator).double()
    with torch.no_grad():
        return network(noisy, timestep, told).sample


def merged(unet, factors, scale=1.0):
    """The slow way: a copy whose weights are added to."""
    other = copy.deepcopy(unet)
    modules = dict(other.named_modules())
    with torch.no_grad():
        for name, (down, up) in factors.items():
            weight = modules[name].weight
            weight += scale * (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
    return other


def old(name, factor):
    path, _, inner = name.removesuffix(".0").rpartition(".")
    return f"{path}.processor.{inner}_lora.{factor}.weight"


NAMINGS = {
    "PEFT": lambda name, f: f"base_model.model.{name}.lora_{'A' if f == 'down' else 'B'}.weight",
    "PEFT of a pipeline": lambda name, f: f"unet.{name}.lora_{'A' if f == 'down' else 'B'}.weight",
    "with the adapter's name": lambda name, f: (
        f"{name}.lora_{'A' if f == 'down' else 'B'}.default.weight"
    ),
    "diffusers": lambda name, f: f"unet.{name}.lora.{f}.weight",
    "attention processors": old,
    "attention processors of a pipeline": lambda name, f: f"unet.{old(name, f)}",
    "kohya": lambda name, f: f"lora_unet_{name.replace('.', '_')}.lora_{f}.weight",
}


def tensors_named(naming, factors):
    return {
        naming(name, kind): factor.contiguous()
        for name, pair in factors.items()
        for kind, factor in zip(("down", "up"), pair, strict=True)
    }


@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_every_naming_means_the_same_layers(tmp_path, unet, factors, naming, ending):
    tensors = tensors_named(NAMINGS[naming], factors)
    path = tmp_path / f"pytorch_lora_weights.{ending}"
    save_file(tensors, path) if ending == "safetensors" else torch.save(tensors, path)
    network = copy.deepcopy(unet)
    (said,) = apply_loras({"unet": network}, [LoraOptions(str(tmp_path))])
    assert f"rank {RANK}, {len(factors)} layers of unet, scale 1" in said
    torch.testing.assert_close(answer(network), answer(merged(unet, factors)))
    trainable = {name for name, each in network.named_parameters() if each.requires_grad}
    assert trainable == {
        f"{name}.lora_{factor}.lora_0.weight" for name in factors for factor in "AB"
    }


def test_alpha_is_what_each_layer_says(tmp_path, unet, factors):
    alphas = {name: 0.5 + number for number, name in enumerate(factors)}
    tensors = tensors_named(NAMINGS["kohya"], factors)
    tensors |= {
        f"lora_unet_{name.replace('.', '_')}.alpha": torch.tensor(alpha)
        for name, alpha in alphas.items()
    }
    save_file(tensors, tmp_path / "lora.safetensors")
    scaled = {name: (down, up * alphas[name] / RANK) for name, (down, up) in factors.items()}
    network = copy.deepcopy(unet)
    apply_loras({"unet": network}, [LoraOptions(str(tmp_path / "lora.safetensors"), 0.3)])
    torch.testing.assert_close(answer(network), answer(merged(unet, scaled, 0.3)))


@pytest.mark.parametrize("rslora", [False, True])
def test_alpha_is_what_the_metadata_of_diffusers_says(tmp_path, unet, factors, rslora):
    metadata = {"unet.lora_alpha": 6, "unet.r": RANK, "unet.use_rslora": rslora}
    save_file(
        tensors_named(NAMINGS["PEFT of a pipeline"], factors),
        tmp_path / "pytorch_lora_weights.safetensors",
        metadata={"lora_adapter_metadata": json.dumps(metadata)},
    )
    network = copy.deepcopy(unet)
    apply_loras({"unet": network}, [LoraOptions(str(tmp_path))])
    scale = 6 / RANK**0.5 if rslora else 6 / RANK
    torch.testing.assert_close(answer(network), answer(merged(unet, factors, scale)))


def test_a_folder_of_peft_is_read_with_its_configuration(tmp_path, unet):
    network = copy.deepcopy(unet)
    config = LoraConfig(
        r=3, lora_alpha=5, target_modules=["to_q", "conv1"], init_lora_weights=False
    )
    inject_adapter_in_model(config, network, adapter_name="default")
    tensors = get_peft_model_state_dict(network, adapter_name="default")
    save_file(
        {f"base_model.model.{k}": v for k, v in tensors.items()},
        tmp_path / "adapter_model.safetensors",
    )
    config.target_modules = sorted(config.target_modules)
    config.save_pretrained(tmp_path)
    ours = copy.deepcopy(unet)
    apply_loras({"unet": ours}, [LoraOptions(str(tmp_path))])
    torch.testing.assert_close(answer(ours), answer(network))


def test_convolutions_and_several_loras_add_up(tmp_path, unet, factors):
    torch.manual_seed(3)
    convolutions = {
        name: (
            torch.randn(1, *module.weight.shape[1:]).double(),
            torch.randn(module.out_channels, 1, 1, 1).double(),
        )
        for name, module in unet.named_modules()
        if isinstance(module, nn.Conv2d) and name.endswith("conv1")
    }
    save_file(tensors_named(NAMINGS["kohya"], convolutions), tmp_path / "conv.safetensors")
    save_file(tensors_named(NAMINGS["PEFT"], factors), tmp_path / "attention.safetensors")
    network = copy.deepcopy(unet)
    loras = [
        LoraOptions(str(tmp_path / "conv.safetensors"), -2.0),
        LoraOptions(str(tmp_path / "attention.safetensors")),
        LoraOptions(str(tmp_path / "attention.safetensors"), 0.5),
    ]
    assert len(apply_loras({"unet": network}, loras)) == 3
    both = merged(merged(unet, convolutions, -2.0), factors, 1.5)
    torch.testing.assert_close(answer(network), answer(both))


def test_parts_of_a_pipeline_are_told_apart(tmp_path):
    def encoder():
        inner = nn.ModuleDict({"q_proj": nn.Linear(3, 3, bias=False)})
        return nn.ModuleDict({"self_attn": inner})

    torch.manual_seed(0)
    pair = (torch.randn(1, 3), torch.randn(3, 1))
    for prefix, layer in (
        ("text_encoder", "self_attn.to_q_lora.{}.weight"),
        ("text_encoder", "self_attn.q_proj.lora_linear_layer.{}.weight"),
        ("lora_te1", "self_attn_q_proj.lora_{}.weight"),
    ):
        parts = {name: encoder() for name in ("unet", "text_encoder", "text_encoder_2")}
        before = parts["text_encoder"].get_submodule("self_attn.q_proj").weight.detach().clone()
        joint = "_" if prefix.startswith("lora") else "."
        tensors = {
            f"{prefix}{joint}{layer.format(kind)}": each
            for kind, each in zip(("down", "up"), pair, strict=True)
        }
        save_file(tensors, tmp_path / "a.safetensors")
        (said,) = apply_loras(parts, [LoraOptions(str(tmp_path / "a.safetensors"))])
        assert "1 layers of text_encoder, scale" in said
        x = torch.randn(2, 3)
        expected = x @ (before + pair[1] @ pair[0]).T
        torch.testing.assert_close(
            parts["text_encoder"].get_submodule("self_attn.q_proj")(x), expected
        )


def broken(tmp_path, factors, change) -> str:
    tensors = tensors_named(NAMINGS["diffusers"], factors)
    change(tensors)
    save_file(tensors, tmp_path / "lora.safetensors")
    return str(tmp_path / "lora.safetensors")


def drop(name):
    return lambda tensors: [tensors.pop(each) for each in list(tensors) if name(each)]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda t: t.update(extra=torch.ones(2)), "1 of its 65 keys are none of a LoRA: extra"),
        (drop(lambda key: "mid_block" in key and "attn1.to_q.lora.up" in key), "lack one of"),
        (drop(lambda key: "mid_block" in key and "attn1.to_q" in key), "leaves out 1 layers of"),
        (
            lambda t: t.update(
                {f"unet.a.b.lora.{each}.weight": torch.ones(2, 2) for each in ("up", "down")}
            ),
            r"1 of its 33 layers are none of unet: unet\.a\.b",
        ),
        (lambda t: t.update({each: v * 0 + torch.nan for each, v in t.items()}), "not finite"),
        (lambda t: t.update({"unet.x.dora_scale": torch.ones(1)}), "is DoRA"),
        (lambda t: t.update({"unet.x.lokr_w1": torch.ones(1)}), "is LoKr"),
        (lambda t: t.update({"unet.x.alpha": torch.ones(1)}), r"none of a LoRA: unet\.x\.alpha"),
    ],
)
def test_what_does_not_fit_to_the_last_key_is_refused(tmp_path, unet, factors, change, problem):
    source = broken(tmp_path, factors, change)
    network = copy.deepcopy(unet)
    with pytest.raises(ModelError, match=problem):
        apply_loras({"unet": network}, [LoraOptions(source)])
    assert torch.equal(answer(network), answer(unet))


def test_a_lora_of_some_blocks_is_taken_where_that_is_said(tmp_path, unet, factors):
    some = {name: pair for name, pair in factors.items() if not name.startswith("mid_block")}
    save_file(tensors_named(NAMINGS["PEFT"], some), tmp_path / "lora.safetensors")
    network = copy.deepcopy(unet)
    options = LoraOptions(str(tmp_path / "lora.safetensors"), some_layers=True)
    apply_loras({"unet": network}, [options])
    torch.testing.assert_close(answer(network), answer(merged(unet, some)))


def test_a_lora_for_another_base_is_refused_with_both_shapes(tmp_path, factors):
    save_file(tensors_named(NAMINGS["PEFT"], factors), tmp_path / "lora.safetensors")
    other = small_unet(cross_attention_dim=20)
    with pytest.raises(ModelError, match=r"is for another base: .*attn2\.to_k takes .*\(2, 20\)"):
        apply_loras({"unet": other}, [LoraOptions(str(tmp_path / "lora.safetensors"))])


class Bomb:
    def __reduce__(self):
        return print, ("a program",)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (dict.clear, "holds no tensors"),
        (lambda all_: all_.update({min(all_): torch.tensor(1.0)}), r"1 of its factors .*\(\)"),
        (lambda all_: all_.update({k: v.char() for k, v in all_.items()}), "no matrices of floats"),
    ],
)
def test_factors_that_are_no_matrices_are_refused(tmp_path, factors, change, problem):
    with pytest.raises(ModelError, match=problem):
        read_lora(broken(tmp_path, factors, change))


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ("[]", "a configuration is a list"),
        ('{"lora_alpha": "x"}', "says no alpha"),
        ('{"lora_alpha": null}', "says no alpha"),
        ('{"alpha_pattern": ["a"]}', "says no alpha"),
        ('{"alpha_pattern": {"(": 2}}', "says no alpha"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(tmp_path, factors, config, problem):
    save_file(tensors_named(NAMINGS["PEFT"], factors), tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(config)
    with pytest.raises((InputError, ModelError), match=problem):
        read_lora(tmp_path)


def test_metadata_that_make_no_sense_are_refused(tmp_path, factors):
    tensors = tensors_named(NAMINGS["diffusers"], factors)
    save_file(tensors, tmp_path / "a.safetensors", {"lora_adapter_metadata": "5"})
    with pytest.raises(InputError, match="a configuration is a int"):
        read_lora(tmp_path / "a.safetensors")


def test_a_file_that_is_no_pickle_is_refused(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"hello")
    with pytest.raises(ModelError, match="cannot be read"):
        read_lora(tmp_path / "a.pt")


def test_a_file_that_holds_a_program_is_refused_and_not_run(tmp_path, unet, capsys):
    torch.save({"a": Bomb()}, tmp_path / "pytorch_lora_weights.bin")
    with pytest.raises(ModelError, match="objects besides tensors"):
        apply_loras({"unet": unet}, [LoraOptions(str(tmp_path))])
    assert capsys.readouterr().out == ""


def test_weights_differ_where_a_scale_or_an_alpha_does(tmp_path, unet, factors):
    tensors = tensors_named(NAMINGS["kohya"], factors)
    hashes = []
    for alpha, scale in ((2.0, 1.0), (1.0, 1.0), (2.0, 0.5), (2.0, 2.0)):
        said = {f"{name.split('.')[0]}.alpha": torch.tensor(alpha) for name in tensors}
        save_file({**tensors, **said}, tmp_path / "a.safetensors")
        network = copy.deepcopy(unet)
        apply_loras({"unet": network}, [LoraOptions(str(tmp_path / "a.safetensors"), scale)])
        hashes.append(weights_hash(network))
    assert hashes[1] == hashes[2]
    assert len(set(hashes)) == 3


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_a_scale_that_is_none_is_refused(unet, scale):
    with pytest.raises(ConfigurationError, match="is no scale of a LoRA"):
        apply_loras({"unet": unet}, [LoraOptions("x", scale)])


def test_a_folder_without_a_lora_says_what_is_looked_for(tmp_path):
    with pytest.raises(InputError, match=r"holds none of pytorch_lora_weights\.safetensors"):
        find_lora(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        find_lora(tmp_path / "none")
    (tmp_path / "a.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match="cannot be read"):
        apply_loras({"unet": small_unet()}, [LoraOptions(str(tmp_path / "a.safetensors"))])


STABILITY_BLOCKS = {
    "down_blocks.1.attentions.0": "input_blocks_3_1",
    "mid_block.attentions.0": "middle_block_1",
    "up_blocks.0.attentions.0": "output_blocks_0_1",
    "up_blocks.0.attentions.1": "output_blocks_1_1",
}
"""Blocks of the network below, as Stability and kohya's files for SDXL call them."""


def in_blocks_of_stability(name):
    block = next(each for each in STABILITY_BLOCKS if name.startswith(f"{each}."))
    inside = name.removeprefix(f"{block}.").replace(".", "_")
    return f"lora_unet_{STABILITY_BLOCKS[block]}_{inside}"


def test_blocks_of_stability_are_those_of_diffusers(tmp_path):
    unet = small_unet(
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    own = factors_of(unet, ATTENTION)
    tensors = {
        f"{in_blocks_of_stability(name)}.{key}": value
        for name, (down, up) in own.items()
        for key, value in (
            ("lora_down.weight", down),
            ("lora_up.weight", up),
            ("alpha", torch.tensor(1.0)),
        )
    }
    save_file(tensors, tmp_path / "lora.safetensors")
    network = copy.deepcopy(unet)
    parts = {"unet": network, "text_encoder": nn.Identity(), "text_encoder_2": nn.Identity()}
    (said,) = apply_loras(parts, [LoraOptions(str(tmp_path / "lora.safetensors"))])
    assert f"{len(own)} layers of unet" in said
    torch.testing.assert_close(answer(network), answer(merged(unet, own, 1 / RANK)))


def small_flux() -> FluxTransformer2DModel:
    torch.manual_seed(0)
    return (
        FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=12,
            pooled_projection_dim=6,
            guidance_embeds=False,
            axes_dims_rope=(4, 4, 8),
        )
        .double()
        .eval()
    )


def answer_of_flux(network):
    generator = torch.Generator().manual_seed(2)

    def drawn(*size):
        return torch.randn(size, generator=generator).double()

    with torch.no_grad():
        return network(
            drawn(1, 6, 16),
            encoder_hidden_states=drawn(1, 5, 12),
            pooled_projections=drawn(1, 6),
            timestep=torch.tensor([0.3]).double(),
            img_ids=torch.zeros(6, 3),
            txt_ids=torch.zeros(5, 3),
        ).sample


def test_joined_projections_of_kohyas_flux_are_three_of_diffusers(tmp_path):
    flux = small_flux()
    width = 32
    torch.manual_seed(4)
    down = torch.randn(RANK, width).double()
    ups = torch.randn(3, width, RANK).double()
    joined = "lora_unet_double_blocks_0_img_attn_qkv"
    tensors = {
        f"{joined}.lora_down.weight": down,
        f"{joined}.lora_up.weight": ups.flatten(0, 1).contiguous(),
        f"{joined}.alpha": torch.tensor(1.0).double(),
    }
    save_file(tensors, tmp_path / "lora.safetensors")
    network = copy.deepcopy(flux)
    options = LoraOptions(str(tmp_path / "lora.safetensors"), some_layers=True)
    apply_loras({"transformer": network}, [options])
    block = "transformer_blocks.0.attn.to_"
    own = {f"{block}{each}": (down, up) for each, up in zip("qkv", ups, strict=True)}
    expected = answer_of_flux(merged(flux, own, 1 / RANK))
    torch.testing.assert_close(answer_of_flux(network), expected)
