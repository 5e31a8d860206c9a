"""Where a contract test takes place: a fresh namespace of some store, and its time.

A contract test gets a `Stage` and never asks which store is behind it. Whoever
wants to prove a broker offers a `broker_factory`: an async callable that opens a
stage over an empty namespace.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field

from stem_core.contracts.backend import ResultBackend
from stem_core.contracts.broker import Broker
from stem_core.contracts.messages import (
    Delivery,
    Located,
    Message,
    Published,
    PublishStatus,
    Settlement,
    SettleStatus,
)

__all__ = ["BrokerFactory", "Stage", "message", "promise", "promises_in", "promises_of"]


@define
class Stage:
    """A broker and a backend of one store, alone in their namespace.

    Attributes:
        broker: belongs to the running loop.
        backend: of the same store, or None.
        let_pass: lets that many milliseconds of the store's time pass.
        wall_ms: the wall clock of the store.
        unit_ms: a span that is long for the store and short for the test.
    """

    broker: Broker
    backend: ResultBackend | None
    let_pass: Callable[[int], Awaitable[None]]
    wall_ms: Callable[[], int]
    unit_ms: int = 1000
    siblings: list[Broker] = field(factory=list)

    @property
    def results(self) -> ResultBackend:
        """The backend, for tests that need one."""
        assert self.backend is not None
        return self.backend

    def sibling(self) -> Broker:
        """A second handle, closed with the stage."""
        self.siblings.append(self.broker.sibling())
        return self.siblings[-1]

    async def publish(self, *messages: Message) -> Sequence[Published]:
        """Publish, and insist that all were created."""
        replies = await self.broker.publish(messages)
        assert [reply.status for reply in replies] == [PublishStatus.CREATED] * len(messages)
        return replies

    async def fetch(self, *queues: str, limit: int = 100, worker: str = "w1") -> list[Delivery]:
        """Take what is ready."""
        return list(
            await self.broker.fetch(queues or ("q",), limit=limit, wait_ms=0, worker=worker)
        )

    async def take(self, queue: str = "q", worker: str = "w1") -> Delivery:
        """Take exactly one."""
        (delivery,) = await self.fetch(queue, limit=1, worker=worker)
        return delivery

    async def settle(self, settlement: Settlement) -> SettleStatus:
        """Settle one delivery."""
        (reply,) = await self.broker.settle([settlement])
        return reply.status

    async def where(self, id: str) -> Located | None:
        """Look one message up."""
        (found,) = await self.broker.lookup([id])
        return found

    async def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start *work* beside the test and let it run until it waits."""
        task = asyncio.ensure_future(work)
        await self.breathe()
        return task

    async def breathe(self) -> None:
        """Let everything run that can."""
        for _ in range(10):
            await asyncio.sleep(0)

    async def aclose(self) -> None:
        """Close every handle."""
        for handle in (self.broker, *self.siblings):
            await handle.aclose()
        if self.backend is not None:
            await self.backend.aclose()


BrokerFactory = Callable[[], Awaitable[Stage]]


def message(id: str = "m", queue: str = "q", **fields: Any) -> Message:
    """A message with what the test does not care about filled in."""
    return Message(**{"id": id, "queue": queue, "task": "t", "body": b"{}", **fields})


def promise(*ids: str) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Mark an async method ``(self, stage)`` as the test of the promises *ids*.

    It becomes a plain test that asks for the `broker_factory` fixture.
    """

    def wrap(test: Callable[..., Any]) -> Callable[..., None]:
        def run(self: object, broker_factory: BrokerFactory) -> None:
            async def on_stage() -> None:
                stage = await broker_factory()
                try:
                    # Real time as a last resort: a missed wake-up must fail, not hang.
                    await asyncio.wait_for(test(self, stage), 30)
                finally:
                    await stage.aclose()

            asyncio.run(on_stage())

        run.__name__ = test.__name__
        run.__doc__ = f"[{', '.join(ids)}] {test.__doc__ or ''}"
        run.promises = frozenset(ids)  # type: ignore[attr-defined]
        return run

    return wrap


def promises_of(*contracts: type) -> frozenset[str]:
    """The ids that the tests of *contracts* cover."""
    return frozenset().union(
        *(getattr(test, "promises", ()) for kind in contracts for test in vars(kind).values())
    )


def promises_in(folder: Path) -> frozenset[str]:
    """The ids that the docstrings of the contracts in *folder* promise."""
    text = "".join(path.read_text("utf-8") for path in sorted(folder.glob("*.py")))
    return frozenset(re.findall(r"\[([A-Z]+-\d+)\]", text))
