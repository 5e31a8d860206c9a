"""What a worker hears on the control channel: that it should look at one of its tasks now.

Rule of this module: an order is a hint and decides nothing. The worker asks the broker, so
whoever forges one makes it ask once too often.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from stem_core.contracts.clock import Clock
from stem_core.contracts.control import ControlChannel, ControlMessage
from stem_core.model.errors import MalformedEnvelope, SignatureError, StoreError
from stem_core.producer.vouching import ControlReader

__all__ = ["Orders"]

_log = logging.getLogger("stem.worker")

_EVERY_MS: Final = 1_000
_FIRST_PAUSE_MS: Final = 1_000
_LONGEST_PAUSE_MS: Final = 30_000


class Orders:
    """Listens for one worker.

    Args:
        reader: says which messages count.
        look: is called with the id of a task that may have been cancelled.
    """

    def __init__(
        self,
        channel: ControlChannel,
        reader: ControlReader,
        clock: Clock,
        *,
        look: Callable[[str], None],
    ) -> None:
        self._channel = channel
        self._reader = reader
        self._clock = clock
        self._look = look
        self._next_line_ms = 0.0
        self._untold = 0

    async def run(self) -> None:
        """Listen until the broker is closed.

        One that is away is waited for by the channel itself. What people must mend is mended
        while this worker lives, or was not so: it is tried again, each time later.
        """
        pause_ms, told = _FIRST_PAUSE_MS, ""
        while True:
            began_ms = self._clock.monotonic_ms()
            try:
                async for message in self._channel.listen():
                    self._hear(message)
                return
            except StoreError as error:
                if self._clock.monotonic_ms() - began_ms > _LONGEST_PAUSE_MS:
                    pause_ms, told = _FIRST_PAUSE_MS, ""  # it has listened well meanwhile
                if told != str(error):
                    told = str(error)
                    _log.warning("no control messages, so cancels are heard of later: %s", error)
            await self._clock.sleep(pause_ms)
            pause_ms = min(2 * pause_ms, _LONGEST_PAUSE_MS)

    def _hear(self, message: ControlMessage) -> None:
        try:
            order = self._reader.read(message)
        except (SignatureError, MalformedEnvelope) as error:
            self._refuse(error, message)
            return
        self._follow(order)

    def _follow(self, order: dict[str, Any]) -> None:
        match order:
            case {"do": "look", "id": str(id)}:
                self._look(id)
            case _:  # of a newer release, perhaps: those that know it follow it
                _log.debug("an unknown control message: %.64r", order.get("do"))

    def _refuse(self, error: SignatureError | MalformedEnvelope, message: ControlMessage) -> None:
        """Say so, once in a second: whoever can write to the broker decides how many come."""
        now_ms = self._clock.monotonic_ms()
        if now_ms < self._next_line_ms:
            self._untold += 1
            return
        more, self._untold = self._untold, 0
        self._next_line_ms = now_ms + _EVERY_MS
        _log.error(
            "a control message was refused (%s): it claims the key %.128r%s",
            (getattr(error, "why", "") or error.code)[:64],
            message.key_id,
            f"; {more:,} more since the last line like this" if more else "",
        )
