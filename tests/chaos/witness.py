"""The witness in each process: a plugin that stands around the broker and writes down what passes.

It changes nothing, but for a fuse: it can kill or stop its own process within a verb, at a
moment that the trial has drawn. That is how a kill hits the inside of a step.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Generator, Sequence
from pathlib import Path
from typing import Never

from attrs import frozen
from chaos.names import BEFORE, SLIP

from stem_core.contracts.observer import Event as Told
from stem_core.plugin import AppInfo, Broker, Observer, Settlement, hookimpl
from stem_core.testing.faults.history import Recorder, What
from stem_core.testing.faults.recording import RecordingBroker

_FATES = {signal.SIGKILL: What.KILLED, signal.SIGSTOP: What.FROZEN}


@frozen
class Fuse:
    """When this process meets its fate: *after_us* into the *count*-th call of *verb*."""

    verb: str
    count: int
    after_us: int
    fate: signal.Signals

    def __str__(self) -> str:
        return f"{self.verb}:{self.count}:{self.after_us}:{self.fate.name}"

    @classmethod
    def read(cls, text: str) -> Fuse:
        """Read what `str` gives."""
        verb, count, after_us, fate = text.split(":")
        return cls(verb, int(count), int(after_us), signal.Signals[fate])


class Witness:
    """The plugin, the observer and the fuse of one process."""

    STEM_PLUGIN_API = (1, 0)

    def __init__(self, pen: Recorder, fuse: Fuse | None = None, *, is_leaky: bool = False) -> None:
        self.pen = pen
        self._fuse = fuse
        self._kind = Leaky if is_leaky else Watched
        self._calls: Counter[str] = Counter()

    @hookimpl(wrapper=True)
    def stem_open_broker(self) -> Generator[None, Awaitable[Broker], Awaitable[Broker]]:
        """Stand around the broker that is opened."""
        return self._around((yield))

    async def _around(self, opening: Awaitable[Broker]) -> Broker:
        return self._kind(await opening, self)

    @hookimpl
    def stem_observers(self, app: AppInfo) -> Sequence[Observer]:
        """Be told what the worker itself makes of it."""
        return [self] if app.role == "worker" else []

    def on_event(self, event: Told, /) -> None:
        """Note what the broker does not see."""
        match event.name:
            case "worker-started":
                self.pen.note(What.READY)
            case "worker-draining":
                self.pen.note(What.DRAINS)
            case "broker-lost":
                self.pen.note(What.AWAY, detail=str(event.detail.get("fault", "")))
            case "lease-lost" if not event.detail.get("settle"):
                self.pen.note(What.DROPPED, id=event.task_id)

    def enters(self, verb: str) -> None:
        """Count a call; light the fuse if it is the one."""
        self._calls[verb] += 1
        fuse = self._fuse
        if fuse is None or (fuse.verb, fuse.count) != (verb, self._calls[verb]):
            return
        if fuse.after_us:
            threading.Thread(target=self._burn, args=(fuse,), daemon=True).start()
        else:
            self._burn(fuse)

    def slips(self) -> Never:
        """Fail as a bug of a store would: with what nobody has promised to raise.

        Raises:
            ValueError: always.
        """
        self.pen.note(What.TROUBLE, detail=SLIP)
        raise ValueError("on purpose, where nobody expects it")

    def _burn(self, fuse: Fuse) -> None:
        time.sleep(fuse.after_us / 1_000_000)
        self.pen.note(_FATES[fuse.fate])
        os.kill(os.getpid(), fuse.fate)


def taken_away(name: str) -> str:
    """Return what stands in the file *name*, which is gone then; empty when there is none."""
    try:
        text = Path(name).read_text("utf-8")
        Path(name).unlink()
    except FileNotFoundError:
        return ""
    return text


class Watched(RecordingBroker):
    """A broker that does what *inner* does, writes it down, and lights the witness's fuse."""

    def __init__(self, inner: Broker, witness: Witness) -> None:
        super().__init__(inner, witness.pen)
        self._witness = witness

    async def around(self, verb, ask):
        self._witness.enters(verb)
        when = taken_away(SLIP) if verb == "fetch" else ""
        if when == BEFORE:
            self._witness.slips()
        reply = await super().around(verb, ask)
        if when:
            self._witness.slips()
        return reply

    def sibling_of(self, inner):
        return type(self)(inner, self._witness)


class Leaky(Watched):
    """A broker as others make it: what is fetched is acknowledged before it has run."""

    async def fetch(self, queues, *, limit, wait_ms, worker):
        deliveries = await super().fetch(queues, limit=limit, wait_ms=wait_ms, worker=worker)
        await self.inner.settle([Settlement(receipt=each.receipt) for each in deliveries])
        return deliveries
