"""The signer: a keyring that signs and verifies, and reads itself again when it changes.

Rule of this module: the keyring of one moment is one frozen value, exchanged as a whole,
so any thread may sign and verify meanwhile.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Final

from stem_core.plugin import (
    SYSTEM_CLOCK,
    Clock,
    ConfigError,
    Seal,
    SignatureError,
    SignatureInvalid,
    SignatureMissing,
    Signer,
    pae,
)
from stem_signing.keyring import Entry, Keyring, Why
from stem_signing.sources import Source

__all__ = ["KeyringSigner"]

_log = logging.getLogger("stem.signing")

_LOOK_EVERY_MS: Final = 1_000
"""How long a change of a key file may go unnoticed by a process that knows the key in use."""

_NOT_VALID: Final = "the signature does not vouch for this"
"""All that a caller is told, whichever check has failed."""


class KeyringSigner(Signer):
    """Signs with the active key of a ring and verifies with all of them.

    Args:
        source: where the ring comes from; it is read now, and again when it has changed.
        clock: for validity times, and for how often the source is looked at.

    Raises:
        ConfigError: there is no ring that could be used.
    """

    def __init__(self, source: Source, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._source: Final = source
        self._wall_ms: Final = clock.wall_ms
        self._monotonic_ms: Final = clock.monotonic_ms
        self._reading: Final = threading.Lock()
        self._stamps = source.stamps()
        self._ring = source.read()
        self._next_look_ms = self._monotonic_ms() + _LOOK_EVERY_MS

    @property
    def ring(self) -> Keyring:
        """The keys of this moment."""
        return self._ring

    @property
    def can_sign(self) -> bool:
        """True with an active key."""
        return self._ring.active is not None

    @property
    def key_ids(self) -> Sequence[str]:
        """The keys that verify, the active one first; revoked ones are not among them."""
        return self._ring.key_ids

    # ── signing ──────────────────────────────────────────────────────────────

    def sign(self, purpose: str, body: bytes) -> Seal:
        """Sign with the active key, if the time is within its validity."""
        self._look()
        active = self._ring.active
        if active is None:
            raise SignatureError(
                "this process has no key to sign with: it can verify, retry and dead-letter, "
                "but not enqueue",
                way_out="Give it a private key, or enqueue from a process that has one.",
            )
        if active.valid_from_ms or active.valid_until_ms:
            _check_time(active, self._wall_ms())
        key = active.key
        signature = key.sign(pae(purpose, key.algorithm, active.id, body))
        return Seal(key.algorithm, active.id, signature)

    # ── verifying ────────────────────────────────────────────────────────────

    def verify(self, purpose: str, body: bytes, seal: Seal) -> None:
        """Accept what a key of the ring has signed, at a time when it counts."""
        if not seal.signature:
            raise SignatureMissing("nobody signed this")
        self._look()
        why = self._fault(purpose, body, seal)
        if why is not None:
            raise SignatureInvalid(_NOT_VALID, why=why.value)

    def check_scope(self, key_id: str, *, task: str, queue: str) -> None:
        """Refuse what is outside the queues and tasks of the key, where it has such."""
        entry = self._ring.entries.get(key_id)
        if entry is None or not entry.vouches_for(task, queue):
            raise SignatureInvalid(_NOT_VALID, why=Why.SCOPE.value)

    def _fault(self, purpose: str, body: bytes, seal: Seal) -> Why | None:
        entry = self._ring.at_any_time(seal.key_id)
        if entry is not None:
            return _check(entry, purpose, body, seal)
        entry = self._ring.entries.get(seal.key_id)
        if entry is None:
            # Somebody may have added the key a moment ago, and signed with it since.
            self._look(now=True)
            entry = self._ring.entries.get(seal.key_id)
            if entry is None:
                return Why.UNKNOWN_KEY
        return entry.why_not(self._wall_ms()) or _check(entry, purpose, body, seal)

    # ── reading again ────────────────────────────────────────────────────────

    def reload(self) -> None:
        """Read the keys again now. When they cannot be used, the old ones stay.

        Raises:
            ConfigError: what is wrong with them.
        """
        with self._reading:
            self._read()

    def _look(self, *, now: bool = False) -> None:
        """Read the keys again if they have changed; looks about once a second, or *now*."""
        time_ms = self._monotonic_ms()
        if not now and time_ms < self._next_look_ms:
            return
        self._next_look_ms = time_ms + _LOOK_EVERY_MS
        if self._source.stamps() == self._stamps:
            return
        with self._reading:
            if self._source.stamps() != self._stamps:
                self._read_or_keep()

    def _read_or_keep(self) -> None:
        try:
            self._read()
        except ConfigError as error:
            _log.error("the keys have changed and cannot be used, so the old ones stay: %s", error)

    def _read(self) -> None:
        # Taken before the reading: what changes meanwhile is seen at the next look.
        self._stamps = self._source.stamps()
        before, self._ring = self._ring, self._source.read()
        if before.key_ids != self._ring.key_ids:
            active = self._ring.active
            _log.info(
                "keys read again: %s signs, %d keys verify",
                "none" if active is None else active.id,
                len(self._ring.key_ids),
            )


def _check(entry: Entry, purpose: str, body: bytes, seal: Seal) -> Why | None:
    """Return what is wrong with *seal*, made by a key that counts; None if nothing is."""
    key = entry.key
    if seal.algorithm != key.algorithm:
        return Why.ALGORITHM
    data = pae(purpose, key.algorithm, entry.id, body)
    return None if key.verify(data, seal.signature) else Why.SIGNATURE


def _check_time(active: Entry, now_ms: int) -> None:
    if active.valid_from_ms and now_ms < active.valid_from_ms:
        raise SignatureError(
            f"the active key {active.id} is not valid yet", way_out="Activate another key."
        )
    if active.valid_until_ms and now_ms >= active.valid_until_ms:
        raise SignatureError(
            f"the active key {active.id} is not valid any more",
            way_out="`stem keys rotate` makes and activates another one.",
        )
