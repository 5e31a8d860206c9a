"""The process that a chaos test kills or stops: ``python -m stem_core.testing.contract.victim``.

The first line of standard input says what to do; what comes of it goes into the history that
it names. The process ends when standard input does: nobody outlives the test.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, Self, TypeVar

from attrs import asdict, define, frozen

from stem_core.contracts.broker import Broker
from stem_core.contracts.messages import (
    ACK,
    Delivery,
    ExtendStatus,
    Extension,
    PublishStatus,
    RetryLater,
    Settlement,
)
from stem_core.model.errors import StoreError
from stem_core.testing.contract.opening import open_address
from stem_core.testing.contract.stage import Address, Stage, elapsed_ms
from stem_core.testing.contract.values import end, ended, message
from stem_core.testing.faults.history import Recorder, What, now
from stem_core.testing.faults.recording import RecordingBroker
from stem_core.testing.faults.truth import Commit

__all__ = ["ENDS", "FAILS", "OLD", "QUEUE", "Order", "commit_of", "ids_of"]

QUEUE: Final = "q"
ENDS: Final = "ends"
"""The queue of the follow-ups: one for each settlement, made by the store in the same step."""

FAILS: Final = b"fails"
"""The body of what is to be retried after its first attempt."""

OLD: Final = b'"from the old lease"'

_LONGEST_S: Final = 0.05
_PAUSE_S: Final = 0.05
_WAIT_MS: Final = 1000

T = TypeVar("T")


@frozen(kw_only=True)
class Order:
    """What a victim is to do.

    Attributes:
        role: ``consume``, ``produce`` or ``hold``.
        history: the file that it writes down what happens in.
        seed: of the dice of this process.
        together: messages in one call.
        dies_in: it kills itself in the middle of that settlement, 1-based; 0 for never.
    """

    role: str
    address: Address
    history: str
    seed: str
    together: int = 3
    dies_in: int = 0

    def to_line(self) -> str:
        """Return it as one line."""
        return f"{json.dumps(asdict(self))}\n"

    @classmethod
    def of(cls, line: str) -> Self:
        """Read what `to_line` gives."""
        said = json.loads(line)
        return cls(**{**said, "address": Address(**said["address"])})


@define
class _Scene:
    """What a role has at hand. *told* is set by each further line of standard input."""

    order: Order
    stage: Stage
    broker: Broker
    pen: Recorder
    dice: random.Random
    told: asyncio.Event


# ── roles ────────────────────────────────────────────────────────────────────


async def _consume(scene: _Scene) -> None:
    """Take, run and settle until somebody kills this process."""
    fuse = _Fuse(scene.order.dies_in, scene.dice, scene.pen)
    scene.pen.note(What.READY)
    while True:
        taken = await _insist(partial(_fetch, scene))
        began = time.monotonic()
        settlements = [
            await _run(scene, each) for each in taken if elapsed_ms(began) < each.lease_ms / 2
        ]
        if settlements:
            with fuse.lit():
                await _insist(partial(scene.broker.settle, settlements))


async def _fetch(scene: _Scene) -> list[Delivery]:
    limit, worker = scene.order.together, f"w{os.getpid()}"
    return list(await scene.broker.fetch([QUEUE], limit=limit, wait_ms=_WAIT_MS, worker=worker))


async def _run(scene: _Scene, delivery: Delivery) -> Settlement:
    note = partial(
        scene.pen.note,
        id=delivery.receipt.id,
        fence=delivery.receipt.fence,
        attempt=delivery.attempt,
    )
    note(What.STARTED)
    await asyncio.sleep(scene.dice.uniform(0, _LONGEST_S))
    note(What.ENDED)
    fails = delivery.message.body == FAILS and delivery.attempt == 1
    return end(
        delivery,
        RetryLater(0) if fails else ACK,
        record=None if fails or not scene.stage.is_atomic else ended(delivery),
        follow_ups=(message(_witness(delivery, is_final=not fails), ENDS),),
    )


def _witness(delivery: Delivery, *, is_final: bool) -> str:
    """Return the id of the follow-up that tells of the settlement of *delivery*."""
    return f"{delivery.message.id}-{delivery.receipt.fence}-{'end' if is_final else 'retry'}"


def commit_of(witness: str) -> Commit:
    """Return the settlement that the follow-up of that id tells of."""
    id, fence, kind = witness.rsplit("-", 2)
    return Commit(id, int(fence), kind == "end")


async def _produce(scene: _Scene) -> None:
    """Publish until somebody kills this process."""
    for call in itertools.count():
        batch = [message(id) for id in ids_of(os.getpid(), call, scene.order.together)]
        replies = await _insist(partial(scene.broker.publish, batch))
        for reply in replies:
            assert reply.status in (PublishStatus.CREATED, PublishStatus.DUPLICATE), reply
        scene.pen.write(*[now(What.ACCEPTED, each.id) for each in batch])


def ids_of(pid: int, call: int, together: int) -> list[str]:
    """Return the ids that the producer *pid* publishes in its *call*, 0-based."""
    return [f"p{pid}-{call}-{n}" for n in range(together)]


async def _hold(scene: _Scene) -> None:
    """Take, wait to be told, then extend and settle as if nothing had happened."""
    taken = await _insist(partial(_fetch, scene))
    await scene.told.wait()
    extensions = [Extension(each.receipt, each.lease_ms) for each in taken]
    replies = await scene.broker.extend(extensions)
    lost = [
        each.receipt
        for each, reply in zip(taken, replies, strict=True)
        if reply.status is ExtendStatus.LOST
    ]
    scene.pen.write(*[now(What.DROPPED, each.id, each.fence) for each in lost])
    is_atomic = scene.stage.is_atomic
    records = [ended(each, value=OLD) if is_atomic else None for each in taken]
    pairs = zip(taken, records, strict=True)
    await scene.broker.settle([end(each, record=record) for each, record in pairs])


_ROLES: Final[Mapping[str, Callable[[_Scene], Awaitable[None]]]] = {
    "consume": _consume,
    "produce": _produce,
    "hold": _hold,
}


async def _insist(call: Callable[[], Awaitable[T]]) -> T:
    """Make *call* until the store answers, as the contract allows for each that is made here."""
    while True:
        try:
            return await call()
        except StoreError:
            await asyncio.sleep(_PAUSE_S)


# ── how it ends ──────────────────────────────────────────────────────────────


class _Fuse:
    """Kills this process within a call: the *count*-th, 0 for none, at a moment that is drawn.

    The moment is a share of the time that the call before took, so it falls inside with
    a store of any speed.
    """

    def __init__(self, count: int, dice: random.Random, pen: Recorder) -> None:
        self._left = count
        self._dice = dice
        self._pen = pen
        self._last_s = 0.0

    @contextmanager
    def lit(self) -> Iterator[None]:
        """Surround one call."""
        self._left -= 1
        if self._left == 0:
            threading.Timer(self._dice.uniform(0, self._last_s), self._burn).start()
        began = time.monotonic()
        yield
        self._last_s = time.monotonic() - began

    def _burn(self) -> None:
        self._pen.note(What.KILLED)
        os.kill(os.getpid(), signal.SIGKILL)


def _on_a_leash(told: Callable[[], Any]) -> None:
    """Call *told* for each line of standard input; end this process when it ends."""

    def watch() -> None:
        for _ in sys.stdin:
            told()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


async def _obey(order: Order) -> None:
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    _on_a_leash(lambda: loop.call_soon_threadsafe(told.set))
    stage = await open_address(order.address)
    try:
        with Recorder(order.history) as pen:
            broker = RecordingBroker(stage.broker, pen)
            scene = _Scene(order, stage, broker, pen, random.Random(order.seed), told)
            await _ROLES[order.role](scene)
    finally:
        await stage.aclose()


def main() -> None:
    """Do what the first line of standard input says."""
    asyncio.run(_obey(Order.of(sys.stdin.readline())))


if __name__ == "__main__":
    main()
