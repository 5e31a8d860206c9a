"""Keys and sources that the tests of signing start from."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from stem_core.model.errors import ConfigError
from stem_core.testing.clock import FakeClock
from stem_signing.files import Stamp
from stem_signing.keyring import Entry, Keyring
from stem_signing.keys import Key, Kind, key_of
from stem_signing.signer import KeyringSigner

SECRET = bytes(range(1, 33))
OTHER = bytes(range(101, 133))


def a_key(kind: Kind = "private", data: bytes = SECRET) -> Key:
    """A key; a public one is the half of the private one with the same bytes."""
    if kind != "public":
        return key_of(kind, data)
    public = key_of("private", data).public()
    assert public is not None
    return public


def an_entry(id: str = "one", kind: Kind = "private", data: bytes = SECRET, **more: Any) -> Entry:
    return Entry(id=id, key=a_key(kind, data), **more)


@define
class Given:
    """A source that a test changes."""

    entries: list[Entry]
    active: str = ""
    version: int = 1
    reads: int = 0
    fault: str = field(default="")

    def read(self) -> Keyring:
        self.reads += 1
        if self.fault:
            raise ConfigError(self.fault)
        return Keyring.of(self.entries, active=self.active)

    def stamps(self) -> tuple[Stamp, ...]:
        return ((self.version, 0, 0),)

    def becomes(self, *entries: Entry, active: str = "") -> None:
        self.entries, self.active = list(entries), active
        self.version += 1


def a_signer(*entries: Entry, active: str = "", clock: FakeClock | None = None) -> KeyringSigner:
    return KeyringSigner(Given(list(entries), active), clock=clock or FakeClock())
