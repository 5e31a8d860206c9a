"""Opening the stores that a command needs, and refusing those that would mislead.

Rule of this module: a command that talks to a store which lives in its own
process would see nothing and say "done"; it is refused here, in one place.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Final, Literal

from stem_core.cli.apps import load_app
from stem_core.cli.failures import nearest, telling_warnings
from stem_core.contracts.backend import ResultBackend
from stem_core.contracts.broker import Broker
from stem_core.model.errors import ConfigError
from stem_core.producer.client import Stem
from stem_core.worker.queues import queues_of

__all__ = ["mistyped_queues", "open_stem", "refuse_private"]

_IN_VAIN: Final = {
    "broker": "no worker could ever see this task",
    "result backend": "it holds no result of any other process",
}


@asynccontextmanager
async def open_stem(app: str | None) -> AsyncIterator[Stem]:
    """Give the Stem of *app*, or else of the environment, and close it at the end."""
    with telling_warnings():
        async with load_app(app) if app else Stem.from_environment() as stem:
            yield stem


def mistyped_queues(stem: Stem, names: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for each of *names* that is nearly, but not quite, a queue of *stem*.

    Any name may be meant: other applications send to queues that this one does not know.
    """
    known = {*queues_of(stem), *stem.routes.patterns.values(), *stem.config.worker_queues}
    for name in names:
        hint = nearest(name, known) if name not in known else ""
        if hint:
            yield f"no task of the application goes to a queue {name!r}\n  {hint}"


def refuse_private(
    store: Broker | ResultBackend,
    what: Literal["broker", "result backend"],
    *,
    at: str,
    in_vain: str = "",
) -> None:
    """Raise unless other processes see what is in *store*; *in_vain* says what that means."""
    if not store.capabilities.multiprocess:
        raise ConfigError(
            f"the {what} of {at} lives in this process only: {in_vain or _IN_VAIN[what]}",
            way_out="Name a store that processes share, in STEM_BROKER_URL or in the application: "
            "sqlite:///tasks.db for one machine.",
        )
