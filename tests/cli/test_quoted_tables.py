"""What help says can be chosen is what the tables hold that choose it."""

from __future__ import annotations

import re
from typing import get_args, get_type_hints

from dtrak_stream.features.maker import EngineName
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.featurizing.options import ExecutionOptions
from dtrak_stream.kernel.damping import RULES
from dtrak_stream.methods import METHODS
from dtrak_stream.objective.function_names import OUTPUT_FUNCTIONS
from dtrak_stream.projectors.table import PROJECTORS
from dtrak_stream.scoring.options import ScoreOptions
from tests.commands_here import described


def choices(options: type, name: str) -> set[str]:
    """The words that an option may be."""
    kind = get_type_hints(options)[name]
    words = {word for part in (kind, *get_args(kind)) for word in get_args(part)}
    return {word for word in words if isinstance(word, str)}


def test_every_output_function_is_taken_by_a_method_that_goes_through_the_kernel():
    streams = [one for each in METHODS.values() if each.uses_kernel for one in each.streams]
    taken = {name for one in streams for name in one.output_functions}
    assert {name.partition("(")[0] for name in OUTPUT_FUNCTIONS} <= taken


def test_help_names_every_output_function():
    text = described(FeatureOptions)["--output-function"]
    assert [name for name in OUTPUT_FUNCTIONS if not re.search(rf"\b{re.escape(name)}", text)] == []


def test_every_projector_may_be_chosen():
    assert choices(FeatureOptions, "projector") == set(PROJECTORS)


def test_every_gradient_engine_may_be_chosen():
    assert choices(ExecutionOptions, "engine") - {"auto"} == set(get_args(EngineName)) - {"none"}


def test_help_names_every_rule_of_damping():
    text = described(ScoreOptions)["--damping"]
    assert [rule for rule in RULES if f"{rule} (" not in text] == []


def test_methods_that_help_names_are_there():
    named = re.findall(r"such as (\S+), (\S+) or (\S+);", described(ScoreOptions)["--method"])
    assert named
    assert set(*named) <= METHODS.keys()
