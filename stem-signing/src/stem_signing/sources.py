"""Where keyrings come from: variables, or a key file. Each can be read again.

Rule of this module: every error names the variable or the file, and repeats nothing that
stands there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol

from attrs import evolve, field, frozen

from stem_core.model.settings.readers import read_public_keys
from stem_core.plugin import ConfigError, StemError, check_name
from stem_signing.files import KEY_FILE, Stamp, read_key_file, stamp_of
from stem_signing.keyring import Entry, Keyring
from stem_signing.keys import HMAC, Algorithm, Kind, key_of
from stem_signing.ringfile import read_ring

__all__ = ["KeyFile", "Source", "Variables"]

_SUFFIXES: Final[dict[str, Kind]] = {
    "KEYS": "secret",
    "PRIVATE_KEYS": "private",
    "PUBLIC_KEYS": "public",
}


class Source(Protocol):
    """Where a keyring is read from, as often as it changes."""

    def read(self) -> Keyring:
        """Return the keyring of now.

        Raises:
            ConfigError: there is none that could be used.
        """
        ...

    def stamps(self) -> tuple[Stamp, ...]:
        """Return what changes when the next `read` may give another keyring."""
        ...


@frozen(kw_only=True)
class KeyFile:
    """A key file; see `ringfile`.

    Attributes:
        path: where it is.
        algorithm: what the active key must sign with; None for whatever it does.
        active: the key that signs, whatever the file says.
        strict: refuse a file that others may read.
        report: is told what an operator should know.
    """

    path: Path
    algorithm: Algorithm | None
    active: str = ""
    strict: bool = False
    report: Callable[[str], None] = field(default=lambda _: None, repr=False)

    def read(self) -> Keyring:
        """Read the file."""
        found = read_key_file(self.path, KEY_FILE)
        try:
            file = read_ring(found.text)
            ring = Keyring.of(
                file.entries, active=self.active or file.active, algorithm=self.algorithm
            )
        except ValueError as error:
            raise ConfigError(f"key file {str(self.path)!r}: {error}") from None
        if any(each.key.kind != "public" for each in file.entries):
            found.keep_private(strict=self.strict, report=self.report)
        return ring

    def stamps(self) -> tuple[Stamp, ...]:
        """Look at the file."""
        return (stamp_of(self.path),)


@frozen(kw_only=True)
class Variables:
    """Lists of keys in variables, or in files that variables name.

    ``PREFIX_KEYS`` of hmac-sha256, ``PREFIX_PRIVATE_KEYS`` and ``PREFIX_PUBLIC_KEYS`` of
    ed25519, all of them ``id:base64`` separated by commas or, in a file, one a line; and
    ``PREFIX_ACTIVE_KEY``. Each one also as ``…_FILE``.
    """

    environment: Mapping[str, str] = field(repr=False)
    algorithm: Algorithm
    prefix: str = "STEM_SIGNING"
    active: str = ""
    strict: bool = False
    report: Callable[[str], None] = field(default=lambda _: None, repr=False)

    def read(self) -> Keyring:
        """Read the variables, and the files that they name as they are now."""
        active = self.active or self._text("ACTIVE_KEY", is_secret=False)
        entries = _joined([entry for name in _SUFFIXES for entry in self._entries(name)])
        if not entries:
            raise self._nothing()
        try:
            ring = Keyring.of(entries, active=active, algorithm=self.algorithm)
        except ValueError as error:
            raise ConfigError(
                f"{self.prefix}_*: {error}",
                way_out=f"{self.prefix}_ACTIVE_KEY names the key that signs.",
            ) from None
        foreign = sorted(id for id, e in ring.entries.items() if e.key.algorithm != self.algorithm)
        if foreign:
            raise ConfigError(
                f"{self.prefix}_*: the keys of {', '.join(foreign)} are not of {self.algorithm}"
            )
        return ring

    def stamps(self) -> tuple[Stamp, ...]:
        """Look at the files; a variable itself cannot change under a process."""
        paths = (self.environment.get(f"{self.prefix}_{name}_FILE") for name in self._names())
        return tuple(stamp_of(Path(path)) for path in paths if path)

    def _names(self) -> Iterator[str]:
        yield from _SUFFIXES
        yield "ACTIVE_KEY"

    def _nothing(self) -> ConfigError:
        name = "KEYS" if self.algorithm == HMAC else "PRIVATE_KEYS"
        return ConfigError(
            f"{self.prefix}_{name} is not set: there is no key for {self.algorithm}",
            way_out=f"Example: {self.prefix}_{name}=2025-06:BASE64. "
            "`stem keys generate` makes a key.",
        )

    def _entries(self, name: str) -> Iterator[Entry]:
        variable, kind = f"{self.prefix}_{name}", _SUFFIXES[name]
        text = self._text(name, is_secret=kind != "public")
        if not text:
            return
        try:
            listed = read_public_keys(text, variable)
        except ValueError as error:
            raise ConfigError(f"{variable}: {error}") from None
        for id, data in listed.items():
            try:
                yield Entry(id=id, key=key_of(kind, data))
            except ValueError as error:
                raise ConfigError(f"{variable}: key {id}: {error}") from None

    def _text(self, name: str, *, is_secret: bool) -> str:
        variable = f"{self.prefix}_{name}"
        file = self.environment.get(f"{variable}_FILE", "").strip()
        plain = self.environment.get(variable, "").strip()
        if file and plain:
            raise ConfigError(
                f"{variable} and {variable}_FILE are both set", way_out="Unset one of them."
            )
        if not file:
            return plain
        found = read_key_file(Path(file), f"{variable}_FILE")
        if is_secret:
            found.keep_private(strict=self.strict, report=self.report)
        text = found.text
        return ",".join(line.strip() for line in text.splitlines() if line.strip())


def _joined(entries: list[Entry]) -> list[Entry]:
    """Return *entries* with each private key in the place of its own public half."""
    found: dict[str, Entry] = {}
    for entry in entries:
        other = found.get(entry.id)
        if other is None:
            found[entry.id] = entry
        elif {other.key.kind, entry.key.kind} == {"private", "public"}:
            _check_halves(other, entry)
        else:
            raise ConfigError(f"the key id {entry.id} is given twice")
    return [evolve(each) for each in found.values()]


def _check_halves(private: Entry, public: Entry) -> None:
    if private.key.fingerprint == public.key.fingerprint:
        return
    if private.key.reveal() == public.key.reveal():
        raise ConfigError(
            f"key {private.id}: the private key is the public one written again",
            way_out="A private key is needed to sign; a public one is enough to verify.",
        )
    raise ConfigError(f"key {private.id}: the private and the public key do not belong together")


def checked_prefix(text: str, source: str) -> str:
    """Return *text* if variables can begin with it."""
    try:
        return check_name(text, kind="variable")
    except StemError as error:
        raise ConfigError(f"{source}: {error.message}", way_out=error.way_out) from None
