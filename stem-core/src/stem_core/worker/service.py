"""What a worker tells the service manager that started it: systemd, or one that speaks alike.

The protocol is lines in a datagram to the socket in NOTIFY_SOCKET. Rule of this module: no
word of it can fail a worker. A manager that is gone, or never was, is nobody's business here.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Final

from stem_core.observe.health import DRAINS

__all__ = ["Feeding", "Service"]

_VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
_READS: Final = 4
"""How often in one period of the watchdog somebody should look."""


class Service:
    """The manager's ear.

    Attributes:
        period_ms: how often to look whether the worker polls, and to say so;
            0 where no watchdog waits for that.
    """

    def __init__(self, address: str, period_ms: int) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.period_ms: Final = period_ms
        self._has_stopped = False

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> Service | None:
        """Return the one that *environment* tells of, and take it from there: what tasks start
        must not speak for the worker. None where there is none."""
        address, micros, pid = (environment.pop(name, "") for name in _VARIABLES)
        if not address.startswith(("/", "@")):
            return None
        is_ours = pid in ("", str(os.getpid()))
        watched = micros.isdecimal() and is_ours
        return cls(address, max(1, int(micros) // (_READS * 1000)) if watched else 0)

    def ready(self, status: str) -> None:
        """It takes work."""
        self._tell(f"READY=1\nSTATUS={status}")

    def answered(self, complaint: str) -> None:
        """Feed the watchdog, if one waits, of a worker that polls or drains. Otherwise show
        the *complaint* to whoever asks how the service is."""
        if complaint and complaint != DRAINS:
            self._tell(f"STATUS={complaint}")
        elif self.period_ms:
            self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        """It drains. Tells once."""
        if not self._has_stopped:
            self._has_stopped = True
            self._tell("STOPPING=1\nSTATUS=draining")

    def _tell(self, text: str) -> None:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.setblocking(False)
            manager.sendto(text.encode(), self._address)


class Feeding:
    """Decides when to ask processes whether they poll; one that does is enough to feed.

    Args:
        ask: asks; the answers come to `answered`.
    """

    def __init__(self, service: Service, ask: Callable[[], object]) -> None:
        self._service = service
        self._ask = ask
        self.wakes_at_ms: float = 0.0 if service.period_ms else math.inf

    def passed(self, now_ms: int) -> None:
        """It is *now_ms*."""
        if now_ms >= self.wakes_at_ms:
            self.wakes_at_ms = now_ms + self._service.period_ms
            self._ask()

    def answered(self, complaint: str) -> None:
        """Somebody said why no work is taken; nothing when it is."""
        self._service.answered(complaint)
