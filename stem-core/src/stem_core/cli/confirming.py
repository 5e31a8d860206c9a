"""Asking before something is gone for good.

Rule of this module: a person at a terminal is asked; a script has to say ``--yes``.
"""

from __future__ import annotations

import sys

import click

__all__ = ["confirmed", "refuse_unasked"]


def refuse_unasked(what: str) -> None:
    """Raise a usage error when there is nobody to ask about *what*."""
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"{what} cannot be undone, and without a terminal nobody can be asked: give --yes."
        )


def confirmed(question: str) -> bool:
    """Return whether the person at the terminal says yes; anything else means no."""
    # Not click's own prompt: it writes to standard output, which may be a program's input.
    click.echo(f"{question} [y/N] ", nl=False, err=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
