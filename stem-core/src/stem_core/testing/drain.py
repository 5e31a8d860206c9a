"""Running the tasks of a test when the test says so, and telling what came of them.

Rule of this module: a worker of production runs them; what is told here is what it
tells its observers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Literal, Self, TypeAlias, overload

from attrs import frozen

from stem_core.contracts.observer import Event
from stem_core.model.duration import format_ms, to_ms
from stem_core.model.errors import UsageError
from stem_core.producer import blocking
from stem_core.producer.client import Stem
from stem_core.worker.burst import burst

__all__ = ["Drain", "Fate", "Ran", "StemWorker"]

Fate: TypeAlias = Literal[
    "succeeded", "retried", "dead", "discarded", "cancelled", "released", "lost"
]
"""What came of one delivery. ``released``: handed back without blame, by a `Snooze` or because
no such task is registered. ``lost``: its lease lapsed, or belonged to somebody else."""

_FATES: Final[Mapping[str, Fate]] = {
    "task-succeeded": "succeeded",
    "task-retried": "retried",
    "task-failed": "dead",
    "message-refused": "dead",
    "task-cancelled": "cancelled",
    "task-released": "released",
    "lease-lost": "lost",
}


@frozen(kw_only=True, repr=False)
class Ran:
    """One delivery that a drain ended.

    Attributes:
        task, queue, id: whose, or, with a signature that is refused, whose it says it is.
        attempt: 1-based; the next one comes after a retry.
        fate: what came of it.
        why: the error as text, or the reason of a fate that has one; empty otherwise.
        traceback: formatted, where it failed.
        after: what is left until it comes back, where it does.
    """

    task: str
    queue: str
    id: str
    attempt: int
    fate: Fate
    why: str = ""
    traceback: str = ""
    after: timedelta | None = None

    def __repr__(self) -> str:
        return f"<{self}>"

    def __str__(self) -> str:
        text = f"{self.task}, attempt {self.attempt}, {self.fate}"
        if self.after is not None:
            text += f", again after {format_ms(to_ms(self.after, field='after'))}"
        return f"{text}: {self.why}" if self.why else text


class Drain(Sequence[Ran]):
    """What `StemWorker.drain` ran, in the order of its ends. Await it in an async test."""

    def __init__(self, app: Stem, tell: Callable[[str], object]) -> None:
        self._app = app
        self._tell = tell
        self._begun = False
        self._ran: tuple[Ran, ...] | None = None

    @property
    def succeeded(self) -> tuple[Ran, ...]:
        """Those that returned."""
        return self._of("succeeded")

    @property
    def retried(self) -> tuple[Ran, ...]:
        """Those that failed and come back after a while."""
        return self._of("retried")

    @property
    def dead(self) -> tuple[Ran, ...]:
        """Those that went to the dead letters: out of retries, rejected, or not to be trusted."""
        return self._of("dead")

    @property
    def failed(self) -> tuple[Ran, ...]:
        """Those that did not do their work: retried and dead."""
        return self._of("retried", "dead")

    def __await__(self) -> Generator[Any, None, Self]:
        if not self._begun:
            yield from self._run().__await__()
        return self

    async def _run(self) -> None:
        self._begun = True
        seen = _Seen()
        await burst(self._app, observers=[seen])
        self._ran = tuple(seen.ran)
        for ran in self.failed:
            self._tell(f"{ran}\n{ran.traceback}".rstrip() + "\n")

    def _all(self) -> tuple[Ran, ...]:
        if self._ran is None:
            raise UsageError(
                "this drain has not run: it was called inside a running event loop",
                way_out="Write await stem_worker.drain().",
            )
        return self._ran

    def _of(self, *fates: Fate) -> tuple[Ran, ...]:
        return tuple(ran for ran in self._all() if ran.fate in fates)

    def __iter__(self) -> Iterator[Ran]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    @overload
    def __getitem__(self, index: int, /) -> Ran: ...
    @overload
    def __getitem__(self, index: slice, /) -> Sequence[Ran]: ...
    def __getitem__(self, index: int | slice, /) -> Ran | Sequence[Ran]:
        return self._all()[index]

    def __repr__(self) -> str:
        return "Drain(not awaited)" if self._ran is None else f"Drain{list(self._ran)}"


class StemWorker:
    """Runs the tasks of *app*: in the event loop of the test or, where none runs, in Stem's own.

    Args:
        tell: takes the text of each failure of a task, for whoever reads the test's report.
    """

    def __init__(self, app: Stem, tell: Callable[[str], object]) -> None:
        self._app = app
        self._tell = tell
        self._drains: list[Drain] = []

    def drain(self) -> Drain:
        """Run all that is due, and what becomes due by that, until nothing is; tell what ran.

        Follow-ups are run too, and retries without a wait. What is delayed or waits for its
        next attempt stays until the clock is advanced.

        In a sync test it runs here and now. Inside a running event loop it runs when it is
        awaited: ``ran = await stem_worker.drain()``.
        """
        drain = Drain(self._app, self._tell)
        if asyncio._get_running_loop() is None:
            blocking.run(drain._run())
        else:
            self._drains.append(drain)
        return drain

    @property
    def was_left_waiting(self) -> bool:
        """True if a drain was called for and never awaited."""
        return not all(drain._begun for drain in self._drains)


class _Seen:
    """An observer that keeps what came of each delivery."""

    def __init__(self) -> None:
        self.ran: list[Ran] = []

    def on_event(self, event: Event, /) -> None:
        if (fate := _FATES.get(event.name)) is not None:
            self.ran.append(_ran(event, fate))


def _ran(event: Event, fate: Fate) -> Ran:
    told = event.detail
    after_ms = told.get("after_ms")
    return Ran(
        task=event.task,
        queue=event.queue,
        id=event.task_id,
        attempt=event.attempt,
        fate="discarded" if "discarded" in told else fate,
        why=_why(told),
        traceback=told.get("traceback", ""),
        after=None if after_ms is None else timedelta(milliseconds=after_ms),
    )


def _why(told: Mapping[str, Any]) -> str:
    """Return the error, and the reason where it says more."""
    words = (told.get(name) for name in ("reason", "discarded", "settle", "error"))
    return ": ".join(word for word in words if word)
