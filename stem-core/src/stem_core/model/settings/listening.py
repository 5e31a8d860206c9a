"""Where a worker answers questions about itself: a host and a port, written in one text."""

from __future__ import annotations

import re
from typing import Final

from stem_core.model.value import Value

__all__ = ["Listening", "read_listening"]

_LOOPBACK: Final = "127.0.0.1"
_FORM: Final = re.compile(
    r"(?:(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])?:)?(?P<port>[0-9]{1,5})"
)
_HIGHEST: Final = 65_535


class Listening(Value, frozen=True):
    """A *host*, without brackets, and a *port*; 0 lets the system choose one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Listening:
        """Read ``host:port``; a port alone means this machine only: 127.0.0.1.

        Raises:
            ValueError: it is neither; says what was expected.
        """
        found = _FORM.fullmatch(text)
        if found is None or int(found["port"]) > _HIGHEST:
            raise ValueError("expected a port, or host:port such as 0.0.0.0:8080 or [::]:8080")
        return cls((found["host"] or _LOOPBACK).strip("[]"), int(found["port"]))

    @property
    def url(self) -> str:
        """As a browser takes it."""
        return f"http://{self}"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def read_listening(text: str, _: str) -> str:
    """Return an address in full: ``127.0.0.1:8080`` for ``8080``."""
    return str(Listening.parse(text))
