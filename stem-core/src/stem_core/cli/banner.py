"""What a worker shows at its start: what has started, with what, and how it is ended."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version

import click

from stem_core.cli.terminal import Paint, visible

__all__ = ["show_banner"]


def show_banner(facts: Mapping[str, str]) -> None:
    """Print *facts* about a worker on standard error, each on a line under its name."""
    click.echo("\n".join(_lines(facts, Paint.of(sys.stderr))), err=True)


def _lines(facts: Mapping[str, str], paint: Paint) -> Iterator[str]:
    yield paint(f"Stem {version('stem-core')} on Python {platform.python_version()}", "bold")
    yield from (f"  {name:<8} {visible(fact)}" for name, fact in facts.items())
    yield paint("Ctrl-C drains; a second one hands back what is unfinished.", "dim")
