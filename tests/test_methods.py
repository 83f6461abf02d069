"""The methods table, and which features each method takes."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.features.names import is_of_images
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.methods import (
    METHODS,
    features_of,
    find_method,
    refuse_other_output_function,
)
from dtrak_stream.model.schedule import DDPMSchedule
from dtrak_stream.objective import function_names
from dtrak_stream.objective.output_functions import OutputFunction
from dtrak_stream.scoring.transforms import TRANSFORMS

OF_FEATURES = [one for one in METHODS.values() if one.needs not in ("subsets", "streams")]
SCHEDULE = DDPMSchedule(torch.ones(10), torch.ones(10), "epsilon")


def test_a_method_is_found_by_its_name():
    for name, method in METHODS.items():
        assert find_method(name) is method
        assert method.name == name


def test_every_method_of_the_literature_is_in_the_table_and_one_of_ours():
    assert set(METHODS) == {
        *("best", "activation-rbf", "mix"),
        *("pixel-dot", "pixel-cosine", "clip-dot", "clip-cosine", "pixel-rbf"),
        *("gradient-dot", "gradient-cosine", "tracincp", "gas"),
        *("trak", "d-trak", "relative-if", "renorm-if", "das"),
        *("journey-trak", "journey-trak-averaged", "empirical-influence", "datamodel"),
    }


@pytest.mark.parametrize("name", ["D-TRAK", "dtrak", ""])
def test_an_unknown_method_is_refused_with_those_there_are(name):
    with pytest.raises(ConfigurationError, match=f"--method {name}: unknown.*trak, d-trak"):
        find_method(name)


LOSSES = set(function_names.LOSSES)
PREDICTIONS = {*function_names.PREDICTIONS, "interpolation", "probe"}
BOTH = LOSSES | PREDICTIONS
FEATURES = {
    # needs, default output function, all it takes, through the kernel, divided by, transformed
    "pixel-dot": ("pixels", "pixels", {"pixels"}, False, "none", "none"),
    "pixel-cosine": ("pixels", "pixels", {"pixels"}, False, "cosine", "none"),
    "clip-dot": ("clip", "clip", {"clip"}, False, "none", "none"),
    "clip-cosine": ("clip", "clip", {"clip"}, False, "cosine", "none"),
    "pixel-rbf": ("rff-pixels", "rff(pixels)", {"rff(pixels)"}, True, "none", "square"),
    "gradient-dot": ("gradients", "simple", BOTH, False, "none", "none"),
    "gradient-cosine": ("gradients", "simple", BOTH, False, "cosine", "none"),
    "tracincp": ("gradients", "simple", BOTH, False, "none", "none"),
    "gas": ("gradients", "simple", BOTH, False, "cosine", "none"),
    "trak": ("gradients", "simple", LOSSES, True, "none", "none"),
    "d-trak": ("gradients", "square", PREDICTIONS, True, "none", "none"),
    "best": ("gradients", "avg", {"avg"}, True, "none", "signed-square"),
    "activation-rbf": (
        *("rff-activations", "rff(activation(auto))", {"rff(activation)"}),
        *(True, "none", "signed-square"),
    ),
    "mix": (
        *("streams", "avg + rff(activation(auto))", {"avg", "rff(activation)"}),
        *(True, "none", "signed-square"),
    ),
    "relative-if": ("gradients", "simple", BOTH, True, "relative-if", "none"),
    "renorm-if": ("gradients", "simple", BOTH, True, "renorm", "none"),
    "journey-trak": ("trajectory", "simple", {"simple"}, True, "none", "none"),
    "journey-trak-averaged": ("trajectory", "simple", {"simple"}, True, "none", "none"),
    "das": ("unit-gradients", "avg", {"avg"}, True, "leverage", "square"),
    "empirical-influence": ("subsets", "", set(), False, "none", "none"),
    "datamodel": ("subsets", "", set(), False, "none", "none"),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_row_says_what_a_method_is_computed_from_and_how(name):
    method = METHODS[name]
    own = " + ".join(stream.output_function for stream in method.streams)
    taken = {name for stream in method.streams for name in stream.output_functions}
    found = (
        *(method.needs, own, taken),
        *(method.uses_kernel, method.normalisation, method.transform),
    )
    assert found == FEATURES[name]


@pytest.mark.parametrize("name", METHODS)
def test_what_few_methods_have_of_their_own_all_others_lack(name):
    method = METHODS[name]
    along = {"journey-trak": "one-step", "journey-trak-averaged": "averaged"}.get(name)
    assert method.query_output_function == (along and f"trajectory({along})")
    assert method.weighs_checkpoints == (name in ("tracincp", "gas"))
    own = {
        "best": [("share:0.06,0.2", 1024)],
        "pixel-rbf": [("10", 1024)],
        "activation-rbf": [("share:0.4", 1024)],
        "mix": [("share:0.02,0.06", 1024), ("share:0.4", 1024)],
    }.get(name, [("10", 4096)] if method.needs != "subsets" else [])
    assert [(stream.timesteps, stream.proj_dim) for stream in method.streams] == own


@pytest.mark.parametrize("name", METHODS)
def test_streams_of_a_sum_have_names_and_weights_and_a_single_one_has_neither(name):
    streams = METHODS[name].streams
    plain = [stream for stream in streams if not stream.name]
    assert len(plain) == (len(streams) == 1)
    assert all((stream.weight, stream.scaled) == (1, False) for stream in plain)


def test_mix_adds_what_a_layer_says_to_twice_the_gradients_of_earlier_timesteps_than_best():
    best, layer = METHODS["best"].streams[0], METHODS["activation-rbf"].streams[0]
    gradients, activations = METHODS["mix"].streams
    assert gradients == dataclasses.replace(
        best, name="gradients", timesteps="share:0.02,0.06", weight=2, scaled=True
    )
    assert activations == dataclasses.replace(layer, name="activations", scaled=True)


def test_streams_of_a_sum_keep_the_sign_or_lose_it_with_their_sum():
    for method in METHODS.values():
        kept = {TRANSFORMS[stream.transform].keeps_sign for stream in method.streams}
        assert not kept or kept == {TRANSFORMS[method.transform].keeps_sign}


UNIT = {"das": "unit-gradient"}


@pytest.mark.parametrize("method", OF_FEATURES, ids=lambda method: method.name)
def test_features_are_those_of_the_row_unless_the_user_says_otherwise(method):
    (stream,), plain = method.streams, features_of(method, FeatureOptions())
    found = (plain.output_function, plain.timesteps, plain.proj_dim, plain.timestep_weights)
    weights = UNIT.get(method.name, FeatureOptions().timestep_weights)
    timesteps = None if is_of_images(stream.output_function) else stream.timesteps
    assert found == (stream.output_function, timesteps, stream.proj_dim, weights)
    other = {"rff(activation)": "rff(activation(mid_block))"}.get(
        stream.output_functions[-1], stream.output_functions[-1]
    )
    said = FeatureOptions(output_function=other, timesteps="3", proj_dim=64)
    own = features_of(method, said)
    assert (own.output_function, own.timesteps, own.proj_dim) == (other, timesteps and "3", 64)


def test_each_method_differentiates_by_default_what_it_was_published_with():
    assert find_method("trak").streams[0].output_function == "simple"
    assert find_method("d-trak").streams[0].output_function == "square"


@pytest.mark.parametrize("method", OF_FEATURES, ids=lambda method: method.name)
def test_each_method_takes_its_default(method):
    refuse_other_output_function(method, method.streams[0].output_function)


@pytest.mark.parametrize("method", OF_FEATURES, ids=lambda method: method.name)
def test_every_output_function_of_a_method_exists(method):
    others = {"pixels", "clip", "rff(pixels)", "rff(activation)", "probe"}
    for name in set(method.streams[0].output_functions) - others:
        full_name = "interpolation(0.5)" if name == "interpolation" else name
        assert OutputFunction(full_name, SCHEDULE).name == full_name


@pytest.mark.parametrize("name", [*function_names.PREDICTIONS, "interpolation(0.25)"])
def test_functions_of_the_prediction_are_for_d_trak_only(name):
    refuse_other_output_function(find_method("d-trak"), name)
    with pytest.raises(ConfigurationError, match=r"trak takes features of simple, elbo.*, not of"):
        refuse_other_output_function(find_method("trak"), name)


@pytest.mark.parametrize("name", function_names.LOSSES)
def test_losses_are_for_trak_only(name):
    refuse_other_output_function(find_method("trak"), name)
    with pytest.raises(ConfigurationError, match="--output-function square, or choose another"):
        refuse_other_output_function(find_method("d-trak"), name)


@pytest.mark.parametrize("name", ["interpolation", "interpolation(x)", "interpolation("])
def test_an_interpolation_without_its_number_is_refused(name):
    with pytest.raises(ConfigurationError, match="interpolation"):
        refuse_other_output_function(find_method("d-trak"), name)


def test_a_function_nobody_knows_is_refused():
    with pytest.raises(ConfigurationError, match="not of cubic"):
        refuse_other_output_function(find_method("d-trak"), "cubic")


@pytest.mark.parametrize("method", OF_FEATURES, ids=lambda method: method.name)
def test_features_that_a_method_chose_hold_nothing_it_does_not_use(method, capsys):
    chosen = features_of(method, FeatureOptions())
    assert features_of(method, chosen) == chosen
    assert capsys.readouterr().err == ""


def test_options_that_mean_nothing_for_such_features_are_left_out_and_said(capsys):
    given = FeatureOptions(clip="folder", projector="identity", proj_dim=64, seed=3)
    expected = FeatureOptions("simple", timesteps="10", projector="identity", seed=3)
    assert features_of(METHODS["trak"], given) == expected
    said = [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()]
    assert said == ["--clip", "--proj-dim"]
