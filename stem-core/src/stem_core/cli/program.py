"""The root command: which commands there are, and how the program starts and ends.

Rule of this module: it knows commands by name, summary and address only. A
command's module is imported when the command is called, a plugin's likewise.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import click

from stem_core.cli.exits import ExitCode, exit_code_of
from stem_core.model.errors import StemError

if TYPE_CHECKING:
    from stem_core.worker.tie import Tie

__all__ = ["COMMANDS", "TeachingGroup", "load_command", "program", "run"]

_ADDED: Final = "stem_core.cli.added"
# name: (where the click command is, what it does)
COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "demo": ("stem_core.cli.demo:demo", "Run one task for each file of a folder, and watch."),
    "worker": ("stem_core.cli.worker:worker", "Run the tasks of an application."),
    "enqueue": ("stem_core.cli.enqueue:enqueue", "Enqueue one task by its name."),
    "result": ("stem_core.cli.result:result", "Show where a task stands, or how it ended."),
    "jobs": ("stem_core.cli.jobs:jobs", "Look at single tasks, or cancel them."),
    "queues": ("stem_core.cli.queues:queues", "List, pause, resume or empty queues."),
    "dlq": ("stem_core.cli.dlq:dlq", "List, replay or discard dead letters."),
    "certify": ("stem_core.cli.certify:certify", "Prove that a broker, or a signer, is sound."),
    "plugins": ("stem_core.cli.plugins:plugins", "List the installed plugins, or check them."),
    "completion": ("stem_core.cli.completion:completion", "Print what makes a shell complete."),
    "config": ("stem_core.cli.config:config", "Show the settings and where they come from."),
    "version": ("stem_core.cli.version:version", "Show the versions of Stem and its plugins."),
}


class TeachingGroup(click.Group):
    """A group of commands that answers a mistyped name with the nearest ones."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that *args* begin with, or say which was probably meant."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            raise click.UsageError(_unknown(name, self.list_commands(ctx)), ctx)
        return super().resolve_command(ctx, args)


class _Program(TeachingGroup):
    """The root: its commands, and those of plugins, are found by name and loaded on call."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *sorted(set(_added(ctx)).difference(COMMANDS))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            return load_command(cmd_name)
        if cmd_name not in _added(ctx):
            return None
        from stem_core.cli.extensions import load_added

        return load_added(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List all commands from what is known of them without an import."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])
        added = [(name, summary) for name, summary in _added(ctx).items() if name not in COMMANDS]
        if added:
            with formatter.section("Commands of plugins"):
                formatter.write_dl(added)


@click.group(
    cls=_Program,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Every option can be given as an environment variable; each command's --help names it.",
    invoke_without_command=True,
    subcommand_metavar="[COMMAND] [ARGS]...",
)
@click.option("--version", is_flag=True, help="Show the version of stem-core and exit.")
@click.pass_context
def program(ctx: click.Context, version: bool) -> None:
    """Stem runs function calls somewhere else, later, and does not lose them.

    \b
    See it work:          stem demo
    Run your tasks:       stem worker shop.tasks
    Enqueue one of them:  stem enqueue billing.charge '{"customer_id": "cust_123"}'
    """
    if version:
        from importlib.metadata import version as version_of

        click.echo(f"stem-core {version_of('stem-core')}")
    elif ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def load_command(name: str) -> click.Command:
    """Import the command *name* of `COMMANDS`."""
    from importlib import import_module

    module, _, attribute = COMMANDS[name][0].partition(":")
    command = getattr(import_module(module), attribute)
    assert isinstance(command, click.Command)
    return command


def run(arguments: Sequence[str] | None = None, *, tie: Tie | None = None) -> int:
    """Run the program and return its exit code; errors are told on standard error.

    *tie* is to the supervisor that has started this process, if one has.
    """
    _never_fail_to_print()
    try:
        outcome = program.main(
            arguments,
            prog_name="stem",
            standalone_mode=False,
            obj=tie,
            terminal_width=_width_of_help(),
        )
    except click.Abort:
        return ExitCode.INTERRUPTED
    except click.ClickException as mistake:
        mistake.show()
        return mistake.exit_code
    except StemError as error:
        from stem_core.cli.failures import complain

        complain(error)
        return exit_code_of(error)
    # Whatever else a plugin's command returns is its own affair; click gives a
    # plain int for `ctx.exit(n)`.
    return outcome if isinstance(outcome, int) else ExitCode.OK


def _never_fail_to_print() -> None:
    """Let an output that is not UTF-8 show a replacement instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _width_of_help() -> int:
    """Return how wide help is written, in columns: as click does it, 50 to 78.

    click asks `shutil`, whose import brings the compressors: 3 ms of a `--help` of 55.
    """
    columns = int(given[:6]) if (given := os.environ.get("COLUMNS", "")).isdecimal() else 0
    if not columns:
        try:
            columns = os.get_terminal_size(sys.stdout.fileno()).columns
        except (AttributeError, ValueError, OSError):  # none, closed, or not a terminal
            columns = 0
    return max(min(columns or 80, 80) - 2, 50)


def _unknown(name: str, known: Sequence[str]) -> str:
    from stem_core.cli.failures import nearest

    hint = nearest(name, known) or f"There are: {', '.join(known)}."
    return f"No such command {name!r}. {hint}"


def _added(ctx: click.Context) -> Mapping[str, str]:
    """Return the summaries of the commands of plugins by name, looked for once.

    Nothing of them is imported.
    """
    if _ADDED not in ctx.meta:
        ctx.meta[_ADDED] = _look_for_added()
    found: Mapping[str, str] = ctx.meta[_ADDED]
    return found


def _look_for_added() -> Mapping[str, str]:
    """Return the summaries of the commands of plugins by name.

    Reading a few files is cheap, knowing the host is as dear as click itself twice over:
    who lists commands, or misses one, pays for it only if settings of plugins, or two
    plugins with one name, ask for its judgement.
    """
    if not any(name.startswith("STEM_PLUGINS") for name in os.environ):
        from stem_core.cli.installed import commands_installed

        plain = commands_installed()
        if plain is not None:
            return plain
    from stem_core.cli.extensions import added_commands

    return {name: spec.summary for name, spec in added_commands().items()}
