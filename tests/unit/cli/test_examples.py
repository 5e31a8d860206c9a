"""Every command shows how it is called, and each of these lines is one that it understands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from stem_core.cli.program import program

UNDERSTOOD_ELSEWHERE = ("eval ", "cd ", "Use them:")


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command and subcommand with its path, those of our plugins too."""
    root = click.Context(program)
    for name in program.list_commands(root):
        command = program.get_command(root, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {child}", command.commands[child]) for child in command.commands)


def examples(command: click.Command) -> list[str]:
    """Return the lines that the help shows as they are."""
    blocks = re.findall(r"\x08\n((?:.+\n?)+)", command.help or "")
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    # Some stand behind a word that says what they are for.
    return [re.sub(r"^[A-Z][a-z ]+: +(?=stem )", "", line) for line in lines if line]


def left(context: click.Context) -> list[str]:
    """Return what the options of a group leave for its commands; click renamed it in 8.2."""
    name = "_protected_args" if hasattr(context, "_protected_args") else "protected_args"
    return [*getattr(context, name), *context.args]


def understood(line: str) -> str:
    """Parse *line* as the program would, without running it; return the path of its command."""
    _, *arguments = shlex.split(re.split(r" [|>] ", line)[0])
    command: click.Command = program
    path: list[str] = []
    context = program.make_context("stem", arguments)
    while isinstance(command, click.Group) and (words := left(context)):
        name, found, arguments = command.resolve_command(context, words)
        assert found is not None
        assert name is not None
        command, path = found, [*path, name]
        context = command.make_context(name, arguments, parent=context)
    return " ".join(path)


def test_the_commands_of_our_plugins_are_among_them() -> None:
    assert {"keys rotate", "migrate up"} <= {path for path, _ in commands()}


@pytest.mark.parametrize(("path", "command"), list(commands()))
def test_each_command_shows_an_example_of_itself(path: str, command: click.Command) -> None:
    assert any(f"stem {path}" in line for line in examples(command)), command.help


SHOWN = [line for _, each in commands() for line in examples(each)]


@pytest.mark.parametrize(
    "line", [line for line in SHOWN if not line.startswith(UNDERSTOOD_ELSEWHERE)]
)
def test_each_example_is_a_command_line_that_is_understood(line: str) -> None:
    assert line.startswith(f"stem {understood(line)}".rstrip())
