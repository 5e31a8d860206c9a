"""What a shell completes beyond commands and options: schemes, tasks and queues.

Rule of this module: a shell asks while somebody types. Nothing is printed, nothing is
raised, and a store that does not answer soon has said nothing.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from stem_core.producer.client import Stem

__all__ = ["broker_urls", "queues", "schemes", "tasks", "weighted_queues"]

_PATIENCE_S: Final = 1.5


def schemes(_: click.Context, __: click.Parameter, typed: str) -> list[str]:
    """Return the schemes that begin like *typed*; no plugin is imported."""
    return _beginning(typed, _schemes())


def broker_urls(_: click.Context, __: click.Parameter, typed: str) -> list[str]:
    """Return how the URLs of brokers begin; no plugin is imported."""
    return _beginning(typed, (f"{scheme}://" for scheme in _schemes("broker")))


def tasks(ctx: click.Context, _: click.Parameter, typed: str) -> list[str]:
    """Return the names of the application's tasks."""
    found: list[str] = []
    with _quietly():
        found += _stem(ctx).registry.names()
    return _beginning(typed, found)


def queues(ctx: click.Context, _: click.Parameter, typed: str) -> list[str]:
    """Return the queues of the application's tasks, and those that its broker has seen."""
    import asyncio  # here: a supervisor has this module, and no event loop

    from stem_core.worker.queues import queues_of

    found: list[str] = []
    with _quietly():
        stem = _stem(ctx)
        if _app_of(ctx):
            found += queues_of(stem)
        asyncio.run(_add_seen(stem, found))
    return _beginning(typed, found)


def weighted_queues(ctx: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """Return queues for the last place of a list such as ``billing:8,default``."""
    before, comma, last = typed.rpartition(",")
    return [f"{before}{comma}{name}" for name in queues(ctx, parameter, last)]


def _schemes(kind: str = "") -> set[str]:
    from stem_core.cli.extensions import plugin_host
    from stem_core.discovery.candidate import KINDS

    found: set[str] = set()
    with _quietly():
        rows = plugin_host().rows()
        found |= {row.scheme for row in rows if row.kind in ((kind,) if kind else KINDS)}
    return found


async def _add_seen(stem: Stem, found: list[str]) -> None:
    import asyncio

    async with asyncio.timeout(_PATIENCE_S), stem:
        admin = (await stem.lane()).broker.admin
        if admin is not None:
            found += [each.queue for each in await admin.stats(())]


def _stem(ctx: click.Context) -> Stem:
    from stem_core.cli.apps import load_app
    from stem_core.producer.client import Stem

    app = _app_of(ctx)
    return load_app(app) if app else Stem.from_environment()


def _app_of(ctx: click.Context) -> str:
    return ctx.params.get("app") or ""


@contextmanager
def _quietly() -> Iterator[None]:
    """Let nothing out: what the code of users prints would be taken for an answer."""
    nowhere = io.StringIO()
    # Whatever goes wrong, the command itself will tell it.
    with redirect_stdout(nowhere), redirect_stderr(nowhere), suppress(Exception, SystemExit):
        yield


def _beginning(typed: str, names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(typed)})
