"""One event loop's place at the stream: a connection, the view, and steps from it.

A step is optimistic: it is decided from the view and written with what the view held as a
condition. When somebody was faster the server refuses it whole; then the view catches up and
the step is decided anew.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, TypeVar

from nats_broker.draft import Draft
from nats_broker.link import ConnectionLost, Link, Target, connect
from nats_broker.server_clock import ServerClock
from nats_broker.stream import write
from nats_broker.tail import Tail
from nats_broker.values import decode
from nats_broker.view import View
from stem_core.plugin import Clock, Dice, StoreError

R = TypeVar("R")

_HEADERS_BYTES: Final = 4 * 1024
_TRIES: Final = 100
_SHORTEST_PAUSE_MS: Final = 2
_LONGEST_PAUSE_MS: Final = 100


class Room:
    """What a handle works in, for as long as it is open.

    Attributes:
        view: what is known of the stream.
        clock: the server's time.
    """

    def __init__(self, link: Link, local: Clock, dice: Dice) -> None:
        self._link, self._local, self._dice = link, local, dice
        self.view: Final = View()
        self.clock: Final = ServerClock(local.monotonic_ms)
        self._news = asyncio.Event()
        self._tail = Tail(link, self.view, self.clock, self._tell)

    @classmethod
    async def open(cls, target: Target, local: Clock, dice: Dice) -> Room:
        """Connect, and read the stream to its end.

        Raises:
            StoreError: that is not possible.
        """
        rooms: list[Room] = []

        async def give_up() -> None:
            for room in rooms:
                room._link.give_up()

        async def come_back() -> None:
            for room in rooms:
                room._link.come_back()
                room._tail.restart()

        client = await connect(target, is_patient=True, on_cut=give_up, on_reconnect=come_back)
        room = cls(Link(client, target), local, dice)
        rooms.append(room)
        try:
            await room._tail.open()
            await room.sync()
        except BaseException:
            await room.aclose()
            raise
        return room

    async def aclose(self) -> None:
        """Leave nothing open."""
        await self._tail.aclose()
        await self._link.aclose()

    # ── steps ────────────────────────────────────────────────────────────────

    async def step(self, work: Callable[[Draft], R], *, is_fresh: bool = False) -> R:
        """Let *work* decide, and write what it decides, whole or not at all.

        A decision that the server does not check, such as "there is no such id", is made from
        a view that is as new as this call; *is_fresh* asks for that in any case.

        Raises:
            StoreError: it could not be written, or others were faster too often.
        """
        for attempt in range(_TRIES):
            if is_fresh:
                await self.sync()
            draft = self._draft()
            reply = work(draft)
            if not draft.is_proven and not is_fresh:
                await self.sync()
                draft = self._draft()
                reply = work(draft)
            if not draft.changes or await self._write(draft):
                return reply
            is_fresh = True
            await self._step_aside(attempt, draft)
        raise StoreError(f"others were faster {_TRIES} times")

    def _draft(self) -> Draft:
        now_ms = self.clock.now_ms()
        self.view.tidy(now_ms)
        return Draft(self.view, now_ms, self._link.client.max_payload - _HEADERS_BYTES)

    async def _write(self, draft: Draft) -> bool:
        """Write what is in *draft*; False if somebody was faster."""
        expected = {name: self.view.sequence(name) for name in draft.changes}
        last = await write(self._link, draft.changes, expected)
        if last is None:
            return False
        # What we wrote ourselves need not come back first. The stamp will, with the message; where
        # it has come already, it is not overwritten by what we took for now.
        for sequence, (name, change) in enumerate(draft.changes.items(), last - len(expected) + 1):
            if self.view.sequence(name) < sequence:
                self.view.apply(decode(change.data), sequence, draft.now_ms)
        return True

    async def _step_aside(self, attempt: int, draft: Draft) -> None:
        """Wait for a random while, so that those who met here do not meet again."""
        if attempt:
            await self._look_closely(draft)
        longest_ms = min(_SHORTEST_PAUSE_MS << min(attempt, 10), _LONGEST_PAUSE_MS)
        await self._local.sleep(round(self._dice.roll() * longest_ms))

    async def _look_closely(self, draft: Draft) -> None:
        """Ask the server what it holds under the names that the view seems to be wrong about."""
        stream, prefix = self._link.target.stream, self._link.target.prefix
        for name in draft.changes:
            found = await self._link.ask(
                f"STREAM.MSG.GET.{stream}", {"last_by_subj": f"{prefix}.{name}"}
            )
            if found is None:
                self.view.lose(name)
                continue
            message = found["message"]
            raw = decode(base64.b64decode(message["data"]))
            self.view.apply(raw, int(message["seq"]), _instant_ms(message["time"]))

    async def sync(self) -> None:
        """Return when the view holds all that was stored before this call."""
        info = await self._info()
        self.clock.heard(_instant_ms(info["ts"]))
        await self._tail.reach(int(info["state"]["last_seq"]))

    async def _info(self) -> dict[str, Any]:
        """Ask for the state of the stream: a question, so it may be asked again."""
        stream = self._link.target.stream
        try:
            info = await self._link.ask(f"STREAM.INFO.{stream}", {})
        except ConnectionLost:
            info = await self._link.ask(f"STREAM.INFO.{stream}", {})
        if info is None:
            raise StoreError(f"{self._link.target.url}: the stream {stream} is gone")
        return info

    # ── news ─────────────────────────────────────────────────────────────────

    @property
    def news(self) -> asyncio.Event:
        """Set at the next change of the view. Take it before looking: then none is missed."""
        return self._news

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def _instant_ms(text: str) -> int:
    """Return milliseconds since the Unix epoch of an RFC 3339 time with nanoseconds."""
    seconds, _, rest = text.rstrip("Z").partition(".")
    whole = datetime.fromisoformat(f"{seconds}+00:00").timestamp()
    return int(whole) * 1000 + int((rest + "000")[:3])
