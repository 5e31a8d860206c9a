"""One process that runs the tasks of an application: the whole worker, or one of several."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final

from attrs import frozen

from stem_core.cli.apps import AppAt, load_app
from stem_core.cli.banner import show_banner
from stem_core.cli.exits import ExitCode
from stem_core.cli.logs import log_as, log_as_expected
from stem_core.cli.managed import managed
from stem_core.cli.pages import listening_of, serving_pages
from stem_core.cli.stores import mistyped_queues
from stem_core.cli.terminal import count_of
from stem_core.cli.watching import Watch
from stem_core.contracts.capabilities import Durability
from stem_core.contracts.observer import Event, Observer
from stem_core.model.errors import ConfigError
from stem_core.observe.health import Report, unready
from stem_core.observe.log import LogObserver
from stem_core.producer.client import Stem
from stem_core.producer.context import TaskContext
from stem_core.producer.lane import Lane
from stem_core.producer.vetting import SigningPolicy
from stem_core.worker.exits import MARGIN_MS
from stem_core.worker.isolation.birth import rss
from stem_core.worker.leaving import leave
from stem_core.worker.recycling import Recycler, check_room, tasks_until_replaced
from stem_core.worker.tie import Hello, Tie
from stem_core.worker.worker import Worker

__all__ = ["Serving"]

_DURABILITY: Final = {
    Durability.MEMORY: "what it holds ends with the process that holds it",
    Durability.CACHED: "what it holds survives any process, a power cut may take the last moments",
    Durability.SYNCED: "what it holds survives a power cut",
}
_POLICIES: Final[dict[SigningPolicy, str]] = {
    "require": "what nobody signed is refused",
    "accept": "what nobody signed runs too",
    "off": "nothing is verified",
}
_ALONE: Final = (
    "no other process can send work to this worker. "
    "Good for an application that enqueues by itself; for all others set STEM_BROKER_URL, "
    "to sqlite:///tasks.db for one machine"
)
_REPLACED: Final = {"stem_facts": {"event": "process-full"}}
_log: Final = logging.getLogger("stem.worker")


class Serving:
    """An application that is loaded to be served. The log is set up when this is made.

    Args:
        app: where the application is.
        tie: to the supervisor, if there is one.
        log_level, log_format: instead of what the settings of the application say.

    Raises:
        ConfigError: there is no such application, or no task in it.
    """

    def __init__(
        self, app: str, tie: Tie | None, *, log_level: str | None, log_format: str | None
    ) -> None:
        # Twice: the application may say something while it is imported, and have settings of
        # its own.
        log_as_expected(log_level, log_format)
        self.stem: Final = load_app(app)
        _check_tasks(self.stem, app)
        config = self.stem.config
        self._level = log_level or config.log_level
        self._form = log_as(self._level, log_format or config.log_format, _facts_of_task)
        self._app = app
        self._tie = tie

    def run(self, how: Mapping[str, Any], processes: int = 1) -> int:
        """Run a worker until it is told to stop; return its exit code, if the process can end.

        It is one of *processes*.

        *how* it works is said in the words of `Worker`.
        """
        self._processes = processes
        gc.freeze()  # what was imported stays: looking through it again costs 4 % of a task
        code = asyncio.run(self._serve(how))
        if code != ExitCode.OK:
            leave(code)
        return code

    async def _serve(self, how: Mapping[str, Any]) -> int:
        async with self.stem, AsyncExitStack() as stack:
            lane = await self.stem.lane()
            how = {**how, "app": AppAt(self._app)}
            for doubt in mistyped_queues(self.stem, how["queues"] or ()):
                _log.warning(doubt.replace("\n ", "."))
            http = how.pop("http") or self.stem.config.worker_http
            limits = self._limits(how)
            watch = Watch(self.stem, lane.broker.admin, http) if http else None
            if self._tie is not None:
                _check_shared(lane, self._processes, limits)
                return await self._serve_tied(lane, self._tie, how, watch, limits)
            runs = Worker(self.stem, **_watched(how, watch))
            shows: dict[str, str] = {}
            if watch is not None:
                watch.see(runs)
                pages = serving_pages(listening_of(watch.address), watch.pages)
                shows["http"] = (await stack.enter_async_context(pages)).url
            return await self._serve_alone(lane, runs, shows)

    async def _serve_alone(self, lane: Lane, runs: Worker, shows: Mapping[str, str]) -> int:
        await runs.start()
        runs.install_signals()  # before, there was nothing to drain
        if self._form == "text":
            show_banner({**self._facts(lane, runs), **shows})
        if not lane.capabilities.multiprocess:
            _log.warning(_ALONE)
        async with managed(runs):
            return await runs.ended()

    def _limits(self, how: dict[str, Any]) -> _Limits:
        """Take from *how* what this process may do until it is replaced."""
        config = self.stem.config
        found = _Limits(
            how.pop("max_tasks") or config.worker_max_tasks,
            how.pop("max_rss") or config.worker_max_rss,
        )
        check_room(found.max_rss, rss())
        return found

    async def _serve_tied(
        self, lane: Lane, tie: Tie, how: Mapping[str, Any], watch: Watch | None, limits: _Limits
    ) -> int:
        """The supervisor is told when the worker takes work, and says when it is to end."""
        name = how.get("name")
        how = {**how, "name": name and f"{name}-{tie.slot}"}
        begins = _Beginning(lambda: tie.say(self._hello(lane, runs, watch)))

        def replace(why: str) -> None:
            _log.info("this process is replaced: %s", why, extra=_REPLACED)
            tie.ask_for_another()
            runs.drain()

        recycler = limits.recycler(self.stem.dice.roll(), replace)
        runs = Worker(self.stem, **_watched(how, watch, begins, *recycler))
        if watch is not None:
            watch.see(runs)
        await runs.start()
        tie.attend(
            asyncio.get_running_loop(),
            drain=runs.drain_soon,
            hand_back=runs.stop_soon,
            reload=runs.reload_keys,
            patience_ms=runs.terms.grace_ms + MARGIN_MS,
            report=watch.report_of if watch else partial(_plain_report, runs),
        )
        code = await runs.ended()
        if watch is not None:
            tie.say_at_last(watch.report())
        return code

    def _hello(self, lane: Lane, runs: Worker, watch: Watch | None) -> Hello:
        return Hello(
            grace_ms=runs.terms.grace_ms,
            log_level=self._level,
            log_format=self._form,
            facts=self._facts(lane, runs),
            http=watch.address if watch else "",
        )

    def _facts(self, lane: Lane, runs: Worker) -> dict[str, str]:
        return {
            "app": f"{self._app}, {count_of(len(self.stem.registry.names()), 'task')}",
            "broker": f"{lane.at} ({_DURABILITY[lane.capabilities.durability]})",
            "backend": _backend_of(lane),
            "queues": f"{', '.join(runs.queues)} × {runs.concurrency} at a time",
            "signer": _signer_of(self.stem, runs.terms.signing),
            "worker": f"{runs.name}, pid {os.getpid()}",
        }


@frozen
class _Limits:
    """What a process may do and hold until it is replaced; None for as much as it likes."""

    max_tasks: int | None
    max_rss: int | None

    def recycler(self, roll: float, enough: Callable[[str], None]) -> Sequence[Observer]:
        """Return who calls *enough* when a limit is met, if there is one."""
        if not (self.max_tasks or self.max_rss):
            return ()
        most = self.max_tasks and tasks_until_replaced(self.max_tasks, roll)
        return (Recycler(most, self.max_rss, rss=rss, enough=enough),)


async def _plain_report(runs: Worker, with_queues: bool) -> Report:
    return Report(rows=[], complaint=unready(runs.vitals), has_queues=with_queues)


class _Beginning:
    """Calls *then* once the worker takes work."""

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then

    def on_event(self, event: Event, /) -> None:
        if event.name == "worker-started":
            self._then()


def _watched(how: Mapping[str, Any], watch: Watch | None, *observers: Observer) -> dict[str, Any]:
    counts = [] if watch is None else [watch.observer]
    return {**how, "observers": [LogObserver(), *counts, *observers], "leave": leave}


def _facts_of_task() -> Mapping[str, str]:
    """Return what lines of the log say of the task that writes them."""
    task = TaskContext.current()
    if task is None:
        return {}
    return {"id": task.id, "task": task.task, "q": task.queue, "try": str(task.attempt)}


def _check_tasks(stem: Stem, app: str) -> None:
    if not stem.registry.names():
        raise ConfigError(
            f"{app} has no task, so this worker could run nothing",
            way_out="Import the modules that define tasks where the Stem is made, "
            "or join their registries: stem.include(registry).",
        )


def _check_shared(lane: Lane, processes: int, limits: _Limits) -> None:
    """Refuse several processes, at a time or one after the other, on a store of which each
    would have its own."""
    if lane.capabilities.multiprocess:
        return
    if processes > 1 or limits.max_tasks or limits.max_rss:
        raise ConfigError(
            f"several processes cannot share the broker {lane.at}: it lives in one process, so "
            "each of them would have an empty one of its own",
            way_out="Name a broker that processes share, such as "
            "STEM_BROKER_URL=sqlite:///tasks.db, or run one process: --processes 1, without "
            "--max-tasks and --max-rss.",
        )


def _backend_of(lane: Lane) -> str:
    if lane.backend is None:
        return "none: nobody remembers results"
    if lane.atomic:
        return "the same store: a result commits with its acknowledgement"
    return type(lane.backend).__name__


def _signer_of(stem: Stem, policy: SigningPolicy | None) -> str:
    signer = stem.pipeline.signer
    if signer is None:
        return "none: envelopes are not signed"
    return f"{', '.join(signer.key_ids)} ({_POLICIES[policy or 'require']})"
