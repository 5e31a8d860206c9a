"""The reference page of the program, written from the commands themselves.

Rule of this module: it adds no fact; what the page says stands beside the option.
`python -m stem_core.cli.reference` prints the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from inspect import cleandoc
from typing import Final

import click

from stem_core.cli.exits import MEANINGS
from stem_core.cli.program import COMMANDS, load_command, program

__all__ = ["reference_markdown"]

_HEAD: Final = """\
# Command reference

<!-- Generated from the commands; a test compares. -->

`stem` is installed with `stem-core`; `python -m stem_core` is the same program.
Results go to standard output, warnings, errors and logs to standard error. With `--json`
standard output holds JSON and nothing else. Colours and lines that move are for terminals only;
`NO_COLOR` switches colours off, `FORCE_COLOR` on.

Each option can be given as the environment variable beside it; the option wins.
`APP` names the application as `module:attr` (`shop.tasks:stem`). Without an attribute its `app`,
then its `stem` is taken; `module:make()` calls a function that makes it. The working directory is
searched first.
"""


def reference_markdown() -> str:
    """Return ``docs/reference/cli.md``."""
    root = click.Context(program, info_name="stem")
    sections = [_HEAD, _exit_codes()]
    for name in COMMANDS:
        sections += _sections(load_command(name), root, name)
    return "\n".join(sections)


def _exit_codes() -> str:
    rows = [f"| {code.value} | {meaning} |" for code, meaning in MEANINGS.items()]
    return "\n".join(["## Exit codes", "", "| code | meaning |", "| --- | --- |", *rows, ""])


def _sections(command: click.Command, parent: click.Context, name: str) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parts = [f"## {context.command_path}", "", "```text", usage, "```", "", _help(command), ""]
    yield "\n".join([*parts, *_options(command)])
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            child = command.get_command(context, each)
            assert child is not None
            yield from _sections(child, context, each)


def _help(command: click.Command) -> str:
    """Return the help text as Markdown: what must not be rewrapped is code."""
    return "\n\n".join(map(_paragraph, cleandoc(command.help or "").split("\n\n")))


def _paragraph(text: str) -> str:
    if not text.startswith("\b"):
        return text.strip().replace("__", r"\_\_")  # or Markdown makes it bold
    lines = text.splitlines()[1:]
    return "\n".join(["```sh", *lines, "```"])


def _options(command: click.Command) -> list[str]:
    rows = [_row(each) for each in command.params if each.envvar]
    if not rows:
        return []
    return ["| option | variable | what it does |", "| --- | --- | --- |", *rows, ""]


def _row(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Option):
        metavar = "" if parameter.is_flag else f" {parameter.metavar}"
        name = ", ".join(parameter.opts) + metavar
        default = parameter.default if parameter.show_default else None
        help = (parameter.help or "") + (f" Default: {default}." if default else "")
    else:
        name, help = parameter.human_readable_name, "see above"
    cells = (f"`{name}`", f"`{parameter.envvar}`", help)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    print(reference_markdown(), end="")
