"""Keyrings: which keys there are, which one signs, and what each of them may vouch for.

Rule of this module: it decides and does nothing else. Time is an argument, and what is
wrong is a word that an operator can search for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum, StrEnum
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Final

from attrs import evolve, field, frozen

from stem_signing.keys import Algorithm, Key

__all__ = ["Entry", "Keyring", "State", "Why", "check_pattern"]

_SKEW_MS: Final = 60_000
"""How far the clock of who signs may be ahead of the clock of who verifies."""

_PATTERN: Final = re.compile(r"[A-Za-z0-9_*][A-Za-z0-9._*-]{0,127}")


class State(Enum):
    """What a key is used for."""

    ACTIVE = "active"
    VERIFY_ONLY = "verify-only"
    REVOKED = "revoked"


class Why(StrEnum):
    """Why a signature is not accepted. For the log of who verifies; a caller is told none of it."""

    UNKNOWN_KEY = "unknown-key"
    REVOKED_KEY = "revoked-key"
    NOT_YET_VALID = "key-not-yet-valid"
    EXPIRED = "key-expired"
    ALGORITHM = "another-algorithm"
    SIGNATURE = "wrong-signature"
    SCOPE = "outside-the-scope-of-its-key"


@frozen(kw_only=True)
class Entry:
    """One key of a ring.

    Attributes:
        id: chosen by its owner, never secret.
        state: what it is used for.
        valid_from_ms, valid_until_ms: milliseconds since the epoch; 0 for no limit.
        queues: the queues that it may vouch for; empty for all of them.
        tasks: patterns of the task names that it may vouch for; empty for all of them.
    """

    id: str
    key: Key = field(repr=False)
    state: State = State.VERIFY_ONLY
    valid_from_ms: int = 0
    valid_until_ms: int = 0
    queues: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()

    @property
    def is_for_ever(self) -> bool:
        """True for a key that counts at any time."""
        is_limited = self.valid_from_ms or self.valid_until_ms
        return self.state is not State.REVOKED and not is_limited

    def why_not(self, now_ms: int) -> Why | None:
        """Return why nothing that it signed counts at *now_ms*; None if it does."""
        if self.state is State.REVOKED:
            return Why.REVOKED_KEY
        if self.valid_from_ms and now_ms < self.valid_from_ms - _SKEW_MS:
            return Why.NOT_YET_VALID
        if self.valid_until_ms and now_ms >= self.valid_until_ms:
            return Why.EXPIRED
        return None

    def vouches_for(self, task: str, queue: str) -> bool:
        """Return whether *task* in *queue* is within its scope."""
        if self.queues and queue not in self.queues:
            return False
        return not self.tasks or any(fnmatchcase(task, each) for each in self.tasks)


class Keyring:
    """Keys by id, at most one of which signs.

    Attributes:
        entries: all of them, revoked ones too, by id.
        active: the one that signs; None for a ring that only verifies.
    """

    __slots__ = ("_at_any_time", "active", "entries")

    def __init__(self, entries: Iterable[Entry]) -> None:
        """Take what `of` has checked."""
        found = {each.id: each for each in entries}
        self.entries: Final[Mapping[str, Entry]] = MappingProxyType(found)
        self._at_any_time: Final = {each.id: each for each in found.values() if each.is_for_ever}
        self.active: Final = next(
            (each for each in found.values() if each.state is State.ACTIVE), None
        )

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of the keys that verify, the active one first."""
        first = () if self.active is None else (self.active.id,)
        verifying = (each.id for each in self.entries.values() if each.state is State.VERIFY_ONLY)
        return (*first, *verifying)

    def at_any_time(self, id: str) -> Entry | None:
        """Return the key *id* if it is here and counts whatever the time is: most do."""
        return self._at_any_time.get(id)

    @classmethod
    def of(
        cls, entries: Iterable[Entry], *, active: str = "", algorithm: Algorithm | None = None
    ) -> Keyring:
        """Return the ring of *entries*, with the key *active* as the one that signs.

        Without *active* the only key that can sign is taken, and none when there is none.
        *algorithm* is what it must sign with.

        Raises:
            ValueError: there is no key, the active one is not there, cannot sign, is
                revoked or of another algorithm, or nobody says which of several signs.
        """
        given = list(entries)
        _refuse_doubles(given)
        if not any(each.state is not State.REVOKED for each in given):
            raise ValueError("there is no key that verifies")
        chosen = _chosen(given, active, algorithm)
        return cls(
            evolve(each, state=State.ACTIVE) if each is chosen else _passive(each) for each in given
        )


def _passive(entry: Entry) -> Entry:
    return entry if entry.state is State.REVOKED else evolve(entry, state=State.VERIFY_ONLY)


def _refuse_doubles(entries: list[Entry]) -> None:
    seen: dict[str, str] = {}
    for each in entries:
        if each.id in seen:
            raise ValueError(f"the key id {each.id} is given twice")
        seen[each.id] = each.key.fingerprint
    if len(set(seen.values())) < len(seen):
        prints = list(seen.values())
        twins = [id for id, print_ in seen.items() if prints.count(print_) > 1]
        raise ValueError(f"{' and '.join(twins)} are one key under several ids")


def _chosen(entries: list[Entry], active: str, algorithm: Algorithm | None) -> Entry | None:
    if active:
        named = next((each for each in entries if each.id == active), None)
        _check_active(named, active, entries, algorithm)
        return named
    signing = [
        each
        for each in entries
        if each.key.can_sign
        and each.state is not State.REVOKED
        and algorithm in (None, each.key.algorithm)
    ]
    if len(signing) > 1:
        ids = ", ".join(each.id for each in signing)
        raise ValueError(f"several keys can sign ({ids}), and none is called the active one")
    return signing[0] if signing else None


def _check_active(
    entry: Entry | None, active: str, entries: list[Entry], algorithm: Algorithm | None
) -> None:
    if entry is None:
        there = ", ".join(each.id for each in entries)
        raise ValueError(f"the active key {active} is not in the list; there are: {there}")
    if not entry.key.can_sign:
        raise ValueError(
            f"the active key {active} is a public key, and signing needs its private one"
        )
    if entry.state is State.REVOKED:
        raise ValueError(f"the active key {active} is revoked")
    if algorithm is not None and entry.key.algorithm != algorithm:
        raise ValueError(f"the active key {active} is of {entry.key.algorithm}, not {algorithm}")


def check_pattern(text: str) -> str:
    """Return a pattern of task names, such as ``billing.*``.

    Raises:
        ValueError: it is none.
    """
    if not _PATTERN.fullmatch(text):
        raise ValueError("expected patterns of task names, such as billing.*")
    return text
