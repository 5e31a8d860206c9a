"""The root of the program: what it lists, what it imports, and how it answers mistakes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from stem_core.cli import main
from stem_core.cli.installed import commands_installed
from stem_core.cli.program import COMMANDS, load_command, program
from stem_core.model.settings import StemConfig
from stem_core.model.settings.environment import settings_of

# Nothing of this is needed to say which commands there are.
NOT_FOR_HELP = (
    "asyncio",
    "attr",
    "attrs",
    "cattrs",
    "concurrent.futures",
    "cronsim",
    "cryptography",
    "hiredis",
    "http",
    "logging",
    "msgspec",
    "multiprocessing",
    "pluggy",
    "psycopg",
    "redis",
    "rich",
    "sqlite3",
    "ssl",
    "stem_core.contracts",
    "stem_core.discovery",
    "stem_core.embedded",
    "stem_core.model.codec",
    "stem_core.model.settings",
    "stem_core.observe",
    "stem_core.producer",
    "stem_core.testing",
    "stem_core.worker",
)
NOT_FOR_IMPORT = (*NOT_FOR_HELP, "click", "importlib.metadata", "stem_core.cli")


def loaded_by(code: str) -> set[str]:
    """Return the modules that a fresh interpreter holds after *code*."""
    program = f"import sys\n{code}\nprint(*sys.modules, file=sys.stderr)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(run.stderr.split())


def stem(
    *arguments: str, path: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the program in a process of its own; *path* is put on its Python path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STEM_")}
    if path is not None:
        kept["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, "-m", "stem_core", *arguments],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("ask", [["--help"], ["--version"], []])
def test_help_and_version_load_nothing_heavy(ask: list[str]) -> None:
    loaded = loaded_by(f"from stem_core.cli import main\nmain({ask!r})")
    assert not loaded.intersection(NOT_FOR_HELP)
    assert not any(name.startswith("stem_core.cli.demo") for name in loaded)
    # Dearer than all the rest of a help; the version is read from there.
    assert ("importlib.metadata" in loaded) == (ask == ["--version"])


def test_importing_stem_loads_nothing_heavy() -> None:
    assert not loaded_by("import stem_core").intersection(NOT_FOR_IMPORT)


def test_one_command_does_not_load_another() -> None:
    loaded = loaded_by("from stem_core.cli import main\nmain(['version'])")
    assert not loaded.intersection({"stem_core.producer", "stem_core.worker", "stem_core.cli.demo"})


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_a_command_what_the_command_says_of_itself(name: str) -> None:
    command = load_command(name)
    assert command.name == name
    assert command.short_help == COMMANDS[name][1]


def test_help_lists_every_command_and_works_without_arguments(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--help"]) == 0
    asked = capsys.readouterr().out
    assert main([]) == 0
    assert capsys.readouterr().out == asked
    for name, (_, summary) in COMMANDS.items():
        assert f"  {name} " in asked
        assert summary in asked


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    line = capsys.readouterr().out
    assert main(["version", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert line == f"stem-core {facts['stem-core']}\n"
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["wrker", "shop"], "No such command 'wrker'. Did you mean 'worker'?"),
        (["--vershun"], "--version"),
        (["config", "shwo"], "No such command 'shwo'. Did you mean 'show'?"),
        (["config", "show", "--orgin"], "--origin"),
        (["xyzzy"], "There are: demo, worker,"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_nearest(
    arguments: list[str], answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert answer in err
    assert not out


@pytest.mark.parametrize(
    ("arguments", "variables", "answer"),
    [
        (["demo", "-c", "no"], {}, "-c / --concurrency: 'no' is not a whole number from 1 to 256"),
        (
            ["demo"],
            {"STEM_DEMO_CONCURRENCY": "257"},
            "STEM_DEMO_CONCURRENCY: '257' is not a whole number from 1 to 256",
        ),
        (["demo"], {"STEM_DEMO_JSON": "so"}, "STEM_DEMO_JSON: 'so' is neither yes nor no"),
        (["demo", "/no/where"], {}, "FOLDER: Directory '/no/where' does not exist"),
        (["demo"], {"STEM_DEMO_FOLDER": "/no/where"}, "STEM_DEMO_FOLDER: Directory '/no/where'"),
        (["enqueue", "a", "[1]"], {}, "JSON: expected a JSON object"),
    ],
)
def test_a_wrong_value_is_told_with_the_name_it_was_given_by(
    arguments: list[str],
    variables: dict[str, str],
    answer: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert f"Invalid value for {answer}" in err
    assert not out


def _options(command: click.Command, path: str) -> list[tuple[str, click.Option]]:
    own = [(path, each) for each in command.params if isinstance(each, click.Option)]
    children = command.commands.items() if isinstance(command, click.Group) else ()
    return own + [each for name, child in children for each in _options(child, f"{path}_{name}")]


EVERY_OPTION = [each for name in COMMANDS for each in _options(load_command(name), name)]
# Settings of the application that the command shares.
SHARED = {
    "--app": "STEM_APP",
    "--log-level": "STEM_LOG_LEVEL",
    "--log-format": "STEM_LOG_FORMAT",
    "--signing-policy": "STEM_SIGNING_POLICY",
}


@pytest.mark.parametrize(("path", "option"), EVERY_OPTION, ids=str)
def test_every_option_has_its_variable_and_its_help_says_so(
    path: str, option: click.Option
) -> None:
    name = max(option.opts, key=len)
    own = f"STEM_{path}_{name.removeprefix('--')}".upper().replace("-", "_")
    assert option.envvar == SHARED.get(name, own)
    assert option.show_envvar
    assert option.help
    assert option.is_flag or option.metavar


def test_a_worker_leaves_the_variables_of_settings_to_its_application(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {field.metadata["env"]: field for field in settings_of(StemConfig)}
    command = load_command("worker")
    shared = [each for each in command.params if each.envvar in settings and each.name != "app"]
    assert len(shared) == 11
    for each in shared:
        monkeypatch.setenv(str(each.envvar), settings[str(each.envvar)].metadata["example"])
    context = command.make_context("worker", ["shop"])
    assert {context.params[str(each.name)] for each in shared} == {None}


def test_the_program_takes_no_option_that_a_command_does_not_have() -> None:
    assert [each.name for each in program.params] == ["version"]


# ── commands of plugins ──────────────────────────────────────────────────────


def _install(folder: Path, entry: str, code: str) -> Path:
    """Lay a distribution into *folder* as an installer would."""
    info = folder / "stem_hello-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stem-hello\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[stem.commands]\n{entry}\n")
    (folder / "stem_hello.py").write_text(code)
    return folder


HELLO = """
import click

@click.command()
@click.argument("name")
@click.pass_context
def hello(ctx, name):
    "Greet."
    print("hello", name)
    ctx.exit(7)
"""


def test_the_command_of_a_plugin_is_listed_and_runs(tmp_path: Path) -> None:
    place = _install(tmp_path, "hello = stem_hello:hello", HELLO)
    assert re.search(r"hello +from stem-hello", stem("--help", path=place).stdout)
    run = stem("hello", "you", path=place)
    assert (run.stdout, run.returncode) == ("hello you\n", 7)
    assert "Did you mean 'hello'" in stem("helo", path=place).stderr


def test_listing_a_command_costs_no_look_at_the_metadata_by_importlib(tmp_path: Path) -> None:
    place = _install(tmp_path, "hello = stem_hello:hello", HELLO)
    put = f"sys.path.insert(0, {str(place)!r})"
    loaded = loaded_by(f"{put}\nfrom stem_core.cli import main\nmain(['--help'])")
    assert not loaded.intersection({"importlib.metadata", "stem_hello", "stem_core.discovery"})
    assert not loaded.intersection({"shutil", "bz2", "lzma"})  # for the width of the terminal


@pytest.mark.parametrize(
    ("given", "width"), [("60", 58), ("20", 50), ("400", 78), ("", 78), ("many", 78), ("0", 78)]
)
def test_help_is_as_wide_as_the_terminal_says_within_reason(
    given: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", given)
    assert main(["--help"]) == 0
    closing = capsys.readouterr().out.strip().split("\n\n")[-1]
    assert width - 12 < max(map(len, closing.splitlines())) <= width


def _zipped(place: Path) -> Path:
    return Path(shutil.make_archive(str(place.parent / "packed"), "zip", place))


def _twice(place: Path) -> Path:
    info = place / "stem_other-2.0.dist-info"
    shutil.copytree(place / "stem_hello-1.2.dist-info", info)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stem-other\nVersion: 2.0\n")
    return place


def _without_a_name(place: Path) -> Path:
    (place / "stem_hello-1.2.dist-info" / "METADATA").write_bytes(b"\xff\xfe")
    return place


def _an_egg(place: Path) -> Path:
    return place.rename(place.with_suffix(".egg"))


def _nothing(place: Path) -> Path:
    (place / "stem_hello-1.2.dist-info" / "entry_points.txt").unlink()
    (place / "old-1.0.egg-info").write_text("a file, as distutils wrote it")
    return place


def _commented(place: Path) -> Path:
    text = "[console_scripts]\nx = y:z\n\n[ stem.commands ]\n# no = pe:x\n hello=stem_hello:hello\n"
    (place / "stem_hello-1.2.dist-info" / "entry_points.txt").write_text(text)
    return place


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (_commented, {"hello": "from stem-hello 1.2"}),
        (_nothing, {}),
        # What files do not tell is left to those who know more.
        (_zipped, None),
        (_twice, None),
        (_without_a_name, None),
        (_an_egg, None),
    ],
)
def test_files_tell_of_commands_only_where_they_are_sure(
    tmp_path: Path, change: Callable[[Path], Path], answer: dict[str, str] | None
) -> None:
    (tmp_path / "here").mkdir()
    place = change(_install(tmp_path / "here", "hello = stem_hello:hello", HELLO))
    assert commands_installed([str(place), str(tmp_path / "nowhere"), str(place)]) == answer


def test_the_first_of_two_places_of_a_distribution_counts(tmp_path: Path) -> None:
    places = [tmp_path / "one", tmp_path / "two"]
    for place in places:
        place.mkdir()
        _install(place, f"{place.name} = stem_hello:hello", HELLO)
    assert commands_installed(list(map(str, places))) == {"one": "from stem-hello 1.2"}


def test_a_command_in_a_zip_is_listed_and_found(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    packed = _zipped(_install(tmp_path / "here", "hello = stem_hello:hello", HELLO))
    assert re.search(r"hello +from stem-hello", stem("--help", path=packed).stdout)
    assert stem("hello", "you", path=packed).stdout == "hello you\n"


def test_a_plugin_that_is_switched_off_adds_no_command(tmp_path: Path) -> None:
    place = _install(tmp_path, "hello = stem_hello:hello", HELLO)
    off = {"STEM_PLUGINS_DISABLE": "stem-hello"}
    assert "hello" not in stem("--help", path=place, **off).stdout
    assert stem("hello", "you", path=place, **off).returncode == 2


def test_a_plugin_cannot_take_the_place_of_a_command(tmp_path: Path) -> None:
    place = _install(tmp_path, "version = stem_hello:hello", HELLO)
    assert stem("version", path=place).stdout.startswith("stem-core ")


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import no_such_driver", "ModuleNotFoundError: No module named 'no_such_driver'"),
        ("raise SystemExit(0)", "SystemExit"),
        ("def hello(:", "SyntaxError"),
        ("hello = 7", "int"),
    ],
)
def test_a_broken_command_is_explained_when_called_and_disturbs_no_other(
    tmp_path: Path, code: str, cause: str
) -> None:
    place = _install(tmp_path, "hello = stem_hello:hello", code)
    assert stem("--help", path=place).returncode == 0
    assert stem("version", path=place).returncode == 0
    run = stem("hello", "you", path=place)
    assert run.returncode == 4
    assert "stem-hello" in run.stderr
    assert cause in run.stderr
    assert "Traceback" not in run.stderr


def test_a_plugin_that_cannot_be_loaded_is_a_warning_beside_the_answer() -> None:
    run = stem("wrker", STEM_PLUGINS="no_such_plugin")
    assert run.stderr.startswith("Warning: plugin no_such_plugin (by STEM_PLUGINS) failed")
    assert run.stderr.count("Warning") == 1
    assert "Did you mean 'worker'?" in run.stderr


# ── printing ─────────────────────────────────────────────────────────────────


def test_a_reader_that_leaves_is_no_error() -> None:
    head = f"{sys.executable} -m stem_core --help | head -n 1"
    run = subprocess.run(["bash", "-c", head], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("Usage: stem")
    assert not run.stderr
