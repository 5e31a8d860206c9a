"""`stem completion`: what a shell reads to complete the commands and options of `stem`."""

from __future__ import annotations

import sys
from typing import Final

import click
from click.shell_completion import get_completion_class

from stem_core.cli.parameters import argument, choice
from stem_core.cli.program import program

__all__ = ["completion"]

_LINES: Final = {
    "bash": 'put  eval "$(stem completion bash)"  into ~/.bashrc',
    "zsh": 'put  eval "$(stem completion zsh)"  into ~/.zshrc, after compinit',
    "fish": "stem completion fish > ~/.config/fish/completions/stem.fish",
}
"""What to do with the script of each shell."""


@click.command(short_help="Print what makes a shell complete.")
@argument("shell", type=choice(tuple(_LINES)), metavar="SHELL")
def completion(shell: str) -> None:
    """Print what makes SHELL (bash 4.4 or later, zsh, fish) complete what you type.

    Schemes are known from the installed plugins. Tasks are known where --app or STEM_APP
    names the application; queues there, and where the broker can be asked.

    For bash, in ~/.bashrc; for zsh, in ~/.zshrc after compinit; for fish, once:

    \b
    eval "$(stem completion bash)"
    eval "$(stem completion zsh)"
    stem completion fish > ~/.config/fish/completions/stem.fish
    """
    made = get_completion_class(shell)
    assert made is not None, "click knows the three of them"
    # The script itself, as a template that is filled in: `source` would also ask bash for its
    # version, and where there is no bash, complain.
    shown = made(program, {}, "stem", "_STEM_COMPLETE")
    click.echo(shown.source_template % shown.source_vars())
    if sys.stdout.isatty():  # nobody reads it there who could use it
        click.echo(f"# This is for {shell} to read: {_LINES[shell]}", err=True)
