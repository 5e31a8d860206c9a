"""`stem completion`: what a shell reads to complete the commands and options of `stem`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from stem_core.cli.parameters import argument
from stem_core.cli.program import program

__all__ = ["completion"]

_SHELLS = ("bash", "zsh", "fish")


@click.command(short_help="Print what makes a shell complete.")
@argument("shell", type=click.Choice(_SHELLS), metavar="SHELL")
def completion(shell: str) -> None:
    """Print what makes SHELL (bash 4.4 or later, zsh, fish) complete commands and options.

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
