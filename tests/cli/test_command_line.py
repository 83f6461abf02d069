"""The command line: options, YAML, help, exit codes, and refusals in one line."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import os
import re
import runpy
import signal
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import tyro
import yaml

from dtrak_stream.attribution import AttributeConfig
from dtrak_stream.cli.command_line import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_QUARANTINED,
    EXIT_REFUSED,
    parse,
    run,
)
from dtrak_stream.errors import ConfigurationError, InputError, InterruptedRunError
from dtrak_stream.exchange import ExportConfig, ImportConfig
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.generation import GenerationConfig
from dtrak_stream.gram import GramConfig
from dtrak_stream.planning import PlanConfig
from dtrak_stream.report import ReportConfig
from dtrak_stream.scoring import ScoreConfig
from dtrak_stream.support.provenance import record_run
from dtrak_stream.training import TrainingConfig
from dtrak_stream.verification import VerifyConfig
from tests.small_jobs import TOOLS, run_tool


@dataclass(frozen=True)
class Spices:
    """What goes into the soup."""

    pepper: float = 0.5
    """Grams of it."""
    salted: bool = True
    """Whether there is salt."""
    stirred: Literal["auto", "yes", "no"] = "auto"
    """When to stir."""


@dataclass(frozen=True)
class Soup:
    """Cook a soup."""

    pot: Path
    """Where it is cooked."""
    name: str = "soup"
    """What it is called."""
    bowls: int | None = None
    """How many it fills."""
    herbs: tuple[str, ...] = ()
    """What grows in the garden."""
    spices: tyro.conf.OmitArgPrefixes[Spices] = field(default_factory=Spices)


@dataclass(frozen=True)
class Served:
    path: Path
    quarantined: int = 0


@pytest.fixture(autouse=True)
def own_signals():
    """Running a command takes over SIGTERM; the tests give it back."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def exit_of(stage, arguments, capsys):
    """Run a command; return its exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as stopped:
        run(Soup, stage, arguments)
    printed = capsys.readouterr()
    return stopped.value.code, printed.out, printed.err


def refusal(arguments, capsys):
    """Run a command that must be refused; return the one line it says."""

    def never(_soup):
        raise AssertionError("a refused command ran")

    code, out, errors = exit_of(never, arguments, capsys)
    assert (code, out) == (EXIT_REFUSED, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert errors.endswith("\n")
    return errors.strip()


def written(tmp_path, text):
    path = tmp_path / "options.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_the_result_is_the_last_line_and_the_exit_code_is_0(capsys):
    def cook(soup):
        print("bubbling")
        return Served(soup.pot / "soup.txt")

    assert exit_of(cook, ["--pot", "p"], capsys) == (EXIT_DONE, "bubbling\np/soup.txt\n", "")


def test_quarantined_samples_give_exit_code_3(capsys):
    code, out, _ = exit_of(lambda soup: Served(soup.pot, 2), ["--pot", "p"], capsys)
    assert (code, out) == (EXIT_QUARANTINED, "p\n")


def test_a_refusal_gives_exit_code_2_and_one_line(capsys):
    def refuse(_soup):
        raise InputError("is too\nhot", where="p", remedy="wait")

    answer = exit_of(refuse, ["--pot", "p"], capsys)
    assert answer == (EXIT_REFUSED, "", "error: p: is too hot; wait\n")


def test_a_path_that_the_system_refuses_gives_exit_code_2_and_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")

    def write(soup):
        (soup.pot / "inside").mkdir(parents=True)

    code, out, errors = exit_of(write, ["--pot", str(tmp_path / "file")], capsys)
    assert (code, out) == (EXIT_REFUSED, "")
    assert errors.startswith(f"error: {tmp_path}/file/inside: not a directory; ")
    assert errors.count("\n") == 1


def test_an_error_of_the_program_is_not_dressed_up_as_a_refusal(capsys):
    def fail(_soup):
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        run(Soup, fail, ["--pot", "p"])


@pytest.mark.parametrize(
    ("interrupt", "told"),
    [(KeyboardInterrupt(), ""), (InterruptedRunError("2 of 3 pots are done"), "2 of 3 pots are d")],
)
def test_an_interrupt_gives_exit_code_130_and_how_to_go_on(capsys, interrupt, told):
    def interrupted(_soup):
        raise interrupt

    code, out, errors = exit_of(interrupted, ["--pot", "p"], capsys)
    assert (code, out) == (EXIT_INTERRUPTED, "")
    assert errors.startswith(f"interrupted: {told}")
    assert errors.endswith("run the same command again to continue where it stopped\n")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_interrupt(capsys, number):
    def stopped(_soup):
        os.kill(os.getpid(), number)
        raise AssertionError("the signal did not arrive")

    assert exit_of(stopped, ["--pot", "p"], capsys)[0] == EXIT_INTERRUPTED


FILE = "pot: in file\nbowls: 3\nherbs: [dill, thyme]\npepper: 1e-3\nsalted: false\n"
IN_FILE = Soup(Path("in file"), "soup", 3, ("dill", "thyme"), Spices(0.001, False))


def test_options_come_from_a_file(tmp_path):
    path = written(tmp_path, FILE)
    assert parse(Soup, ["--config", path]) == IN_FILE
    assert parse(Soup, [f"--config={path}"]) == IN_FILE


@pytest.mark.parametrize("file_first", [True, False])
def test_flags_win_over_the_file(tmp_path, file_first):
    given = ["--config", written(tmp_path, FILE)]
    flags = ["--bowls", "4", "--salted", "--herbs", "mint"]
    expected = dataclasses.replace(IN_FILE, bowls=4, herbs=("mint",), spices=Spices(0.001))
    assert parse(Soup, given + flags if file_first else flags + given) == expected


def test_a_later_file_wins_over_an_earlier_one(tmp_path):
    first = written(tmp_path, FILE)
    second = tmp_path / "second.yaml"
    second.write_text("bowls: 9")
    assert parse(Soup, ["--config", first, "--config", str(second)]).bowls == 9


@pytest.mark.parametrize("flag", ["salted", "stirred"])
@pytest.mark.parametrize("word", ["yes", "no"])
def test_yes_and_no_in_a_file_mean_what_the_option_takes(tmp_path, flag, word):
    """YAML takes the bare words for truth values, which a choice of words is not."""
    spices = parse(Soup, ["--config", written(tmp_path, f"pot: p\n{flag}: {word}")]).spices
    assert getattr(spices, flag) == (word if flag == "stirred" else word == "yes")


@pytest.mark.parametrize(
    ("line", "soup"),
    [
        ("bowls: null", Soup(Path("p"))),
        ("bowls:", Soup(Path("p"))),
        ("herbs: []", Soup(Path("p"))),
        ("name: 010", Soup(Path("p"), "010")),
        ("name: 2024-01-01", Soup(Path("p"), "2024-01-01")),
        ("name: 'yes'", Soup(Path("p"), "yes")),
        ("name: -x", Soup(Path("p"), "-x")),
        ("name: --pot", Soup(Path("p"), "--pot")),
        ("name: ''", Soup(Path("p"), "")),
        ("name: 'a b # c: d'", Soup(Path("p"), "a b # c: d")),
        ("bowls: -2", Soup(Path("p"), bowls=-2)),
        ("provenance: {python: 3.11}", Soup(Path("p"))),
        ("", Soup(Path("p"))),
    ],
)
def test_a_value_in_a_file_is_taken_as_it_is_written(tmp_path, line, soup):
    assert parse(Soup, ["--config", written(tmp_path, f"pot: p\n{line}")]) == soup


@pytest.mark.parametrize("name", ["max_bowls", "max-bowls"])
def test_underscores_in_a_file_are_dashes(tmp_path, name):
    @dataclass(frozen=True)
    class Kitchen:
        max_bowls: int = 1
        """Limit."""

    assert parse(Kitchen, ["--config", written(tmp_path, f"{name}: 5")]) == Kitchen(5)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, r"cannot read the configuration (No such file or directory)"),
        ("a: [b", "not YAML"),
        ("a: b: c", "not YAML"),
        ("\x07", "not YAML"),
        (b"\xff\xfe\x00", "not YAML"),
        ("- a\n- b", "not a mapping of options"),
        ("soup", "not a mapping of options"),
        ("", "not a mapping of options"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, capsys, content, told):
    path = str(tmp_path / "gone.yaml") if content is None else written(tmp_path, content)
    line = refusal(["--pot", "p", "--config", path], capsys)
    assert line.startswith(f"error: --config {path}: {told}")


def test_a_folder_as_configuration_is_refused(tmp_path, capsys):
    line = refusal(["--pot", "p", "--config", str(tmp_path)], capsys)
    assert "cannot read the configuration (Is a directory)" in line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--pot"),
        (["--pot"], "--pot"),
        (["--pot", "p", "--ladle", "x"], "--ladle"),
        (["--pot", "p", "--bowls", "many"], "--bowls"),
        (["--pot", "p", "--stirred", "maybe"], "invalid choice 'maybe' for argument '--stirred'"),
        (["--pot", "p", "stray"], "stray"),
        (["--pot", "p", "--config"], "--config"),
    ],
)
def test_options_that_do_not_exist_or_fit_are_refused_in_one_line(capsys, arguments, told):
    line = refusal(arguments, capsys)
    assert told in line
    assert not set(line) & set("│╭╮╰╯─")


def test_an_unknown_option_in_a_file_is_refused_by_its_name(tmp_path, capsys):
    line = refusal(["--config", written(tmp_path, "pot: p\nladle: long")], capsys)
    assert "--ladle" in line
    assert line.endswith("run with --help for all options")


CONFIGS = (
    AttributeConfig,
    FeaturizeConfig,
    GramConfig,
    ScoreConfig,
    ReportConfig,
    TrainingConfig,
    GenerationConfig,
    ImportConfig,
    ExportConfig,
    VerifyConfig,
    PlanConfig,
)
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
}
"""Values of options that are checked against each other or a limit."""


def another(name: str, kind: Any, default: Any) -> Any:
    """Return a value of this kind that is not the default, and that YAML could misread."""
    if name in CONSTRAINED:
        return CONSTRAINED[name]
    if get_origin(kind) is Literal:
        return next(choice for choice in reversed(get_args(kind)) if choice != default)
    kinds = get_args(kind) or (kind,)
    if get_origin(kinds[0]) is Literal:  # or None
        return get_args(kinds[0])[-1]
    if bool in kinds:
        return not default
    if int in kinds:
        return 17 if default is dataclasses.MISSING or default is None else default + 17
    if float in kinds:
        return default * 3
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
        assert is_group or option.name == "sampler" or values[option.name] != option.default
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


def described(config_type: type) -> dict[str, str]:
    """Return the flag of every option with the text that stands below its field."""
    kinds = get_type_hints(config_type)
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(config_type))).body
    assert isinstance(tree, ast.ClassDef)
    options: dict[str, str] = {}
    for line, below in zip(tree.body, [*tree.body[1:], None]):
        if not (isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)):
            continue
        name = line.target.id
        if dataclasses.is_dataclass(kinds[name]):
            options |= described(kinds[name])
            continue
        text = below.value if isinstance(below, ast.Expr) else None
        assert isinstance(text, ast.Constant), f"{config_type.__name__}.{name} is not described"
        options[f"--{name.replace('_', '-')}"] = str(text.value)
    return options


def squeezed(text: str | None) -> str:
    """Drop frames and white space, which depend on the width of the screen."""
    return "".join((text or "").split()).translate(dict.fromkeys(map(ord, "│╭╮╰╯─")))


def helps_of(tool: str, capsys: pytest.CaptureFixture[str]) -> list[tuple[type, str]]:
    """Return each configuration that a tool takes with the help about it."""
    code, out, errors = run_tool(tool, ["--help"], capsys)
    assert (code, errors) == (EXIT_DONE, "")
    names = runpy.run_path(str(TOOLS / f"{tool}.py"))
    configs = [value for name, value in names.items() if name.endswith("Config")]
    subcommands = re.findall(rf"^  {tool}\.py (\S+) --help$", out, re.MULTILINE)
    if not subcommands:
        (config_type,) = configs
        return [(config_type, out)]
    texts = [run_tool(tool, [name, "--help"], capsys)[1] for name in subcommands]
    pairs = [(c, text) for c in configs for text in texts if squeezed(c.__doc__) in squeezed(text)]
    assert len(pairs) == len(configs) == len(subcommands)
    return pairs


@pytest.mark.parametrize("tool", sorted(path.stem for path in TOOLS.glob("*.py")))
def test_help_describes_every_option(tool, capsys):
    for config_type, out in helps_of(tool, capsys):
        options = described(config_type)
        assert len(options) > 1
        for flag, text in options.items():
            assert len(text.strip()) > 5, f"{flag} has no description"
            assert flag in out
            assert squeezed(text) in squeezed(out), f"{flag} is described otherwise"
        assert "--config FILE.yaml" in out


@pytest.mark.parametrize("tool", sorted(path.stem for path in TOOLS.glob("*.py")))
def test_a_misspelt_option_of_any_tool_is_refused_in_one_line(tool, capsys):
    code, out, errors = run_tool(tool, ["--no-such-option"], capsys)
    assert (code, out, errors.count("\n")) == (EXIT_REFUSED, "", 1)
    assert "--no-such-option" in errors


def test_options_that_contradict_each_other_are_refused_in_one_line(capsys, tmp_path):
    arguments = ["--out", str(tmp_path), "--sampler", "ddpm", "--eta", "0.5"]
    code, _, errors = run_tool("generate", arguments, capsys)
    assert (code, errors.count("\n")) == (EXIT_REFUSED, 1)
    assert errors.startswith("error: --eta: 0.5 is not supported; ")


def test_a_configuration_error_names_what_where_and_what_to_do():
    error = ConfigurationError("is cold", where="--soup", remedy="heat it")
    assert str(error) == "--soup: is cold; heat it"
