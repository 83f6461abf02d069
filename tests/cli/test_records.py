"""The config.yaml that a run writes is the configuration it ran with, for every command."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import yaml

from dtrak_stream.cli.commands import BENCHMARKS, COMMANDS, Command
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.support.configuration import parse
from dtrak_stream.support.provenance import record_run

CONFIGS = [
    command.options()
    for command in [*COMMANDS.values(), *BENCHMARKS.values()]
    if isinstance(command, Command)
]
CONSTRAINED: dict[str, Any] = {
    "sampler": "ddim",
    "eta": 0.5,
    "block_out_channels": (12, 24),
    "attention_levels": (),
    "attention_head_dim": 4,
    "norm_num_groups": 6,
    "adam_betas": (0.5, 0.25),
    "dropout": 0.125,
    "weight_decay": 0.25,
    "warmup_fraction": 0.3,
    "ema_decay": 0.99,
    "memory_limit": "512MB",
    "labels": "3,1,2",
    "workers": 3,
    "devices": "yes: it's #1,'devices',[a:b]",
    "device": "yes: it's #1",
    "scheduler": None,
    "where": ("style=yes: it's #1",),
    "query_where": ("style=[a:b]",),
    "caption_column": None,
    "drop_captions": False,
    "complements": False,
    "methods": ("d-trak",),
    "caption_template": "yes: it's #1, {label, _ as space} [a:b]",
}
"""Values of options that are checked against each other or a limit."""
LEFT_OUT = {"sampler", "caption_column", "drop_captions", "scheduler", "complements"}
"""Options that others leave no choice but the default."""


def another(name: str, kind: Any, default: Any) -> Any:
    """Return a value of this kind that is not the default, and that YAML could misread."""
    if name in CONSTRAINED:
        return CONSTRAINED[name]
    if get_origin(kind) is Literal:
        return next(choice for choice in reversed(get_args(kind)) if choice != default)
    if get_origin(kind) is tuple:
        return (another(name, get_args(kind)[0], dataclasses.MISSING),)
    kinds = get_args(kind) or (kind,)
    if get_origin(kinds[0]) is Literal:  # or None
        return get_args(kinds[0])[-1]
    if bool in kinds:
        return not default
    if int in kinds:
        return 17 if default is dataclasses.MISSING or default is None else default + 17
    if float in kinds:
        return default * 3 if isinstance(default, float) and default else 0.5
    return kinds[0](f"yes: it's #1, '{name}' [a:b]/x.h5")


def changed(config_type: Any) -> Any:
    """Return a configuration whose every option differs from its default."""
    kinds = get_type_hints(config_type)
    values = {}
    for option in dataclasses.fields(config_type):
        kind = kinds[option.name]
        is_group = dataclasses.is_dataclass(kind)
        values[option.name] = (
            changed(kind) if is_group else another(option.name, kind, option.default)
        )
        assert is_group or option.name in LEFT_OUT or values[option.name] != option.default
    return config_type(**values)


def bare(config_type: Any) -> Any:
    """Return a configuration of required options only."""
    kinds = get_type_hints(config_type)
    missing = dataclasses.MISSING
    required = [
        option
        for option in dataclasses.fields(config_type)
        if option.default is missing and option.default_factory is missing
    ]
    return config_type(
        **{
            option.name: bare(kinds[option.name])
            if dataclasses.is_dataclass(kinds[option.name])
            else another(option.name, kinds[option.name], missing)
            for option in required
        }
    )


@pytest.mark.parametrize("make", [bare, changed])
@pytest.mark.parametrize("config_type", CONFIGS)
def test_the_configuration_a_run_wrote_reads_back(tmp_path, config_type, make):
    config = make(config_type)
    record_run(tmp_path / "config.yaml", config)
    assert parse(config_type, ["--config", str(tmp_path / "config.yaml")]) == config


def test_the_record_of_a_run_tells_what_it_ran_with(tmp_path):
    record_run(tmp_path / "config.yaml", FeaturizeConfig("images", Path("store")))
    record = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert record["rows-per-shard"] == 1024
    assert {"python", "git-revision", "packages"} == set(record["provenance"])
    assert {"torch", "diffusers", "h5py", "dask"} <= set(record["provenance"]["packages"])
