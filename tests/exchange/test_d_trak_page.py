"""The page about D-TRAK's folders shows commands as they are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import dtrak_stream
from dtrak_stream.cli.commands import COMMANDS, Command
from dtrak_stream.exchange.declaration import declared_fingerprint
from dtrak_stream.exchange.feature_array import FeatureArray
from dtrak_stream.exchange.feature_names import feature_name
from dtrak_stream.exchange.joined_rows import JoinedRows, Part
from dtrak_stream.exchange.options import ImportConfig
from dtrak_stream.support.configuration import parse
from tests.exchange.conftest import random_features

PAGE = (Path(dtrak_stream.__file__).parent / "exchange/d_trak_folders.md").read_text()
BLOCKS = "".join(re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)).replace("\\\n", " ")
COMMANDS_SHOWN = [line for line in BLOCKS.splitlines() if line.startswith("dtrak-stream ")]


def options_of(line: str) -> tuple[str, object]:
    _, name, *words = shlex.split(line.replace("$NAME", "sd-lora").replace("$SET", "5000-0.5"))
    command = COMMANDS[name]
    assert isinstance(command, Command)
    return name, parse(command.options(), words)


@pytest.mark.parametrize("line", COMMANDS_SHOWN)
def test_every_command_it_shows_is_understood(line):
    options_of(line)


def test_it_shows_each_kind_of_command():
    names = {line.split()[1] for line in COMMANDS_SHOWN}
    assert names == {"import-features", "gram", "score", "import-truth", "lds", "attribute"}
    assert len(COMMANDS_SHOWN) == 12


@pytest.mark.parametrize("line", [line for line in COMMANDS_SHOWN if "import-features" in line])
def test_what_it_declares_of_features_is_what_their_names_say(line):
    _, config = options_of(line)
    assert isinstance(config, ImportConfig)
    name = feature_name(Path(str(config.array.array[0]).replace("*", "0")))
    assert name is not None
    rows = JoinedRows([Part(Path("a"), random_features(2, 4))])
    array = FeatureArray(rows, 4, None, name)
    declared_fingerprint(config.features, array, images="", dtype="float32", rows_per_shard=1)
    assert config.array.used_dim is not None
    assert config.array.used_dim <= name.columns
