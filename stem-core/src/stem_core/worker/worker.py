"""`Worker`: takes tasks from queues, runs them and settles them, until it is told to stop.

Rule of this module: what people call, and where settings come from. The parts and the
order in which they start and stop are `shift`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self
from weakref import WeakKeyDictionary

from stem_core.contracts.hookspecs import AppInfo
from stem_core.contracts.observer import Observer
from stem_core.model.duration import Duration, to_ms
from stem_core.model.errors import InvalidOption, UsageError
from stem_core.observe.health import Vitals
from stem_core.producer.client import Stem
from stem_core.producer.vetting import SigningPolicy, policy_of
from stem_core.worker.exits import DRAINED, HANDED_BACK, PATIENCE_MS
from stem_core.worker.hangup import reload_keys
from stem_core.worker.isolation.apps import terms_of
from stem_core.worker.isolation.terms import App
from stem_core.worker.queues import queues_of, weights_of
from stem_core.worker.shift import Shift
from stem_core.worker.signals import Signals
from stem_core.worker.terms import Terms

__all__ = ["Worker"]

_log = logging.getLogger("stem.worker")

_plugged: Final[WeakKeyDictionary[Stem, tuple[Observer, ...]]] = WeakKeyDictionary()
"""The observers that plugins offered the workers of each Stem: they are asked once."""


class Worker:
    """Takes tasks from *queues* and runs up to *concurrency* of them at a time.

    ``async with Worker(stem):`` starts it and, at the end, drains it; `run` is for a
    program that does nothing else. One worker is started once.

    If it ends although nobody told it to, the task that entered the ``async with`` is
    cancelled and leaves the block with an error that says why.

    A task that is cancelled while it runs is told at once where the broker can tell workers,
    as those of Stem do; else, or if that message is lost, when its lease is renewed: up to a
    third of its visibility timeout later (10 seconds of the usual 30).

    Args:
        queues: names, or names with weights (how early each is asked, in proportion).
            Without it STEM_WORKER_QUEUES, else the default queue and those of the
            tasks that are registered here.
        concurrency, threads: tasks at a time, and how many of them in threads.
        grace: how long running tasks may go on when the worker is told to stop.
        name: for people; unique by default.
        observers: are told what happens, beside those that plugins offer.
        signing_policy: what it asks of signatures: ``require`` one, ``accept`` what nobody
            signed too, or ``off``. Without it STEM_SIGNING_POLICY, else ``require`` as soon
            as there are keys.
        leave: ends this process with the exit code that it is called with, from any thread:
            for a program that is nothing but a worker. It is called when a task blocks the
            event loop for longer than STEM_WORKER_STALL_LIMIT, once the others are handed
            back. Without it the worker stops when its loop turns again.
        app: imports and returns the Stem in a new process, for tasks that run in one of
            their own; something that can be pickled, such as a function of a module. Without
            it the module that holds *stem* is imported. With it, what may have ended a worker
            before runs in a process of its own too.

    Raises:
        ConfigError: it shall verify, and has no key to verify with; or a task has
            ``isolation="process"`` and no new process could import *stem*.
    """

    def __init__(
        self,
        stem: Stem,
        *,
        queues: str | Sequence[str] | Mapping[str, int] | None = None,
        concurrency: int | None = None,
        grace: Duration | None = None,
        name: str | None = None,
        threads: int | None = None,
        observers: Sequence[Observer] = (),
        signing_policy: SigningPolicy | None = None,
        leave: Callable[[int], object] | None = None,
        app: App | None = None,
    ) -> None:
        config = stem.config
        self.name: Final = name or _own_name()
        self._stem = stem
        self.weights = weights_of(
            config.worker_queues or queues_of(stem) if queues is None else queues
        )
        plugged = _plugged.get(stem)
        if plugged is None:
            info = _info(stem, tuple(self.weights))
            plugged = _plugged[stem] = stem.plugins.observers(info)
        slots = _positive(concurrency, config.worker_concurrency, "concurrency")
        self.terms = Terms(
            worker=self.name,
            concurrency=slots,
            prefetch=config.prefetch_multiplier,
            threads=_positive(threads, config.worker_threads, "threads"),
            grace_ms=config.worker_grace_ms if grace is None else to_ms(grace, field="grace"),
            observers=(*observers, *plugged),
            max_run_ms=config.worker_max_run_ms,
            stall_limit_ms=config.worker_stall_limit_ms,
            poll_limit_ms=config.worker_poll_limit_ms,
            children=terms_of(stem, app, concurrency=slots),
            leave=leave,
            signing=policy_of(signing_policy or config.signing_policy, stem.pipeline.signer),
        )
        self._shift: Shift | None = None
        self._main: asyncio.Task[int] | None = None
        self._signals: Signals | None = None
        self._owner: asyncio.Task[Any] | None = None
        self._is_told = False
        self._has_cancelled_owner = False

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that it serves."""
        return tuple(self.weights)

    @property
    def concurrency(self) -> int:
        """How many tasks it runs at a time."""
        return self.terms.concurrency

    @property
    def running(self) -> int:
        """How many deliveries it holds whose task has not ended."""
        return 0 if self._shift is None else self._shift.running

    @property
    def vitals(self) -> Vitals:
        """How it is now."""
        if self._shift is None or self._main is None:
            return Vitals(busy=0, slots=self.concurrency, is_begun=False)
        if self._main.done():
            return Vitals(busy=0, slots=self.concurrency, is_draining=True)
        return self._shift.vitals

    async def __aenter__(self) -> Self:
        await self.start()
        self._owner = asyncio.current_task()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        owner, self._owner = self._owner, None
        is_ours = self._has_cancelled_owner and owner is not None and not owner.uncancel()
        if is_ours and kind is None:
            with contextlib.suppress(asyncio.CancelledError):  # it had not arrived yet
                await asyncio.sleep(0)
        self.drain()
        is_quiet = kind is None or (is_ours and issubclass(kind, asyncio.CancelledError))
        try:
            code = await self.ended()
        except Exception:
            if is_quiet:  # else the block's own error says more, and this one is in the log
                raise
        else:
            if is_quiet:
                self._refuse(code)

    def _refuse(self, code: int) -> None:
        """Raise unless *code* is what was asked for by leaving the block."""
        if code == DRAINED or (code == HANDED_BACK and not self._has_cancelled_owner):
            return
        raise UsageError(
            f"worker {self.name} stopped with exit code {code} although nobody told it to",
            way_out="Its log says which task would not end. Start another worker, best in "
            "another process: what does not end is still there.",
        )

    async def start(self) -> None:
        """Begin to take tasks.

        Raises:
            StoreError: the broker or the backend cannot be reached.
        """
        if self._main is not None:
            raise UsageError(f"worker {self.name} was started before", way_out="Make another one.")
        shift = self._shift = Shift(self._stem, await self._stem.lane(), self.terms)
        self._main = asyncio.create_task(shift.serve(self.weights), name=self.name)
        self._main.add_done_callback(self._has_ended)

    def _has_ended(self, main: asyncio.Task[int]) -> None:
        if self._is_told or main.cancelled():
            return
        error = main.exception()
        why = f"exit code {main.result()}" if error is None else f"{error}"
        _log.error("worker %s stopped although nobody told it to: %s", self.name, why)
        if self._owner is not None:
            self._has_cancelled_owner = True
            self._owner.cancel(f"worker {self.name} stopped")

    async def run(self) -> int:
        """Start, and return the exit code once somebody has stopped it; see `exits`."""
        await self.start()
        return await self.ended()

    def drain(self) -> None:
        """Take nothing new, let what runs finish within the grace, then hand the rest back."""
        self._is_told = True
        if self._shift is not None:
            self._shift.drain()

    def stop_now(self) -> None:
        """Hand back at once what has not finished."""
        self._is_told = True
        if self._shift is not None:
            self._shift.stop_now()

    async def ended(self) -> int:
        """Wait until it has stopped, and return the exit code.

        Cancelling this stops the worker now, and waits for that.
        """
        if self._main is None:
            raise UsageError(f"worker {self.name} was not started", way_out="await worker.start()")
        try:
            return await asyncio.shield(self._main)
        except asyncio.CancelledError:
            self.stop_now()
            await asyncio.wait([self._main])
            raise
        finally:
            self._remove_signals()

    def drain_soon(self) -> None:
        """`drain`, from any thread and from signal handlers.

        If a task blocks the event loop until the grace is over and some seconds more, the
        rest is handed back without it; see STEM_WORKER_STALL_LIMIT.
        """
        self._soon(self.drain, self.terms.grace_ms + PATIENCE_MS)

    def stop_soon(self) -> None:
        """`stop_now`, from any thread and from signal handlers; a loop that is blocked is
        waited for some seconds."""
        self._soon(self.stop_now, PATIENCE_MS)

    def _soon(self, call: Callable[[], None], within_ms: int) -> None:
        self._is_told = True
        if self._shift is not None and self._main is not None:
            self._shift.expect_to_hear(within_ms)
            with contextlib.suppress(RuntimeError):  # the loop is closed: all has ended
                self._main.get_loop().call_soon_threadsafe(call)

    def install_signals(self) -> None:
        """Drain on the first SIGTERM or SIGINT, hand back at once on the second, and on the
        third end this process, with exit code 70, wherever its tasks stand. SIGHUP reads the
        keys again, unless it says that the terminal is gone.

        To be called in the main thread, in the loop of the worker; undone when it has ended.
        """
        self._signals = Signals(self.drain_soon, self.stop_soon, self.reload_keys)
        self._signals.install(asyncio.get_running_loop())

    def reload_keys(self) -> None:
        """Read the keys again that verify and sign; what cannot be used changes nothing."""
        reload_keys(self._stem)

    def _remove_signals(self) -> None:
        if self._signals is not None:
            self._signals.remove()
            self._signals = None


def _own_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{os.urandom(2).hex()}"


def _positive(given: int | None, fallback: int, name: str) -> int:
    if given is None:
        return fallback
    if type(given) is not int or given < 1:
        raise InvalidOption(f"{name}={given!r} is not a number of 1 or more")
    return given


def _info(stem: Stem, queues: tuple[str, ...]) -> AppInfo:
    tasks = tuple(stem.registry.names())
    return AppInfo(namespace=stem.config.namespace, tasks=tasks, queues=queues, role="worker")
