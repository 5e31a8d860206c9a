"""What a server says of itself at start, and what follows from it. Asks nothing itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from attrs import frozen

from stem_core.plugin import Durability, StoreMisconfigured

__all__ = ["Facts", "facts_of"]

_OLDEST: Final = (6, 2)


@frozen(kw_only=True)
class Facts:
    """One server, as it was when it was asked.

    Attributes:
        run_id: changes with every start of the server.
        version: of Redis, or of the Redis that a Valkey is compatible with.
        name: for people.
        policy: what it does when it is full; empty if it does not say.
        has_log: it appends what it accepts to a file.
        syncs_always: it writes that file through before it answers.
        is_replica: it cannot be written to.
        uptime_s: for how long it had run, in seconds.
    """

    run_id: str
    version: tuple[int, int]
    name: str
    policy: str = ""
    has_log: bool = False
    syncs_always: bool = False
    is_replica: bool = False
    uptime_s: int = 0

    @property
    def reads_shebangs(self) -> bool:
        """True when scripts may say in their first line what they need."""
        return self.version >= (7, 0)

    @property
    def durability(self) -> Durability:
        """What an accepted message survives."""
        if not self.has_log:
            return Durability.MEMORY
        return Durability.SYNCED if self.syncs_always else Durability.CACHED

    @property
    def evicts(self) -> bool:
        """True when the server throws keys away, and not only those that expire."""
        return self.policy.startswith("allkeys")

    @property
    def evicts_early(self) -> bool:
        """True when the server throws away what would expire later."""
        return self.policy.startswith("volatile")

    def check(self, shown: str, *, allow_eviction: bool) -> None:
        """Refuse a server on which tasks cannot be safe.

        Raises:
            StoreMisconfigured: says what a person must change.
        """
        if self.version < _OLDEST:
            raise StoreMisconfigured(
                f"{shown} is {self.name}, which is too old",
                way_out="Redis 6.2 and Valkey 7.2 are the oldest that work.",
            )
        if self.is_replica:
            raise StoreMisconfigured(
                f"{shown} is a replica and cannot be written to",
                way_out="Name its master, or let sentinels name it: redis+sentinel://.",
            )
        if (self.evicts or self.evicts_early) and not allow_eviction:
            raise StoreMisconfigured(
                f"{shown} has maxmemory-policy {self.policy}: when it is full it would throw away "
                "tasks, or what it remembers of them, without a word",
                way_out="Set maxmemory-policy noeviction at the server, or accept the loss with "
                "?allow_eviction=true.",
            )

    def worth_saying(self, shown: str) -> Iterator[str]:
        """Yield what an operator should know at start."""
        if not self.has_log:
            yield (
                f"{shown} keeps no append-only file: what it holds is lost when it stops. "
                "Set appendonly yes at the server to keep tasks."
            )
        if self.evicts or self.evicts_early:
            yield f"{shown} may throw tasks away when it is full (maxmemory-policy {self.policy})"


def facts_of(info: str, appendfsync: str) -> Facts:
    """Read the text of ``INFO``; *appendfsync* is empty when the server does not tell."""
    said = dict(_lines(info))
    major, minor, *_ = (*said.get("redis_version", "0.0").split("."), "0")
    valkey = said.get("valkey_version")
    return Facts(
        run_id=said.get("run_id", ""),
        version=(_number(major), _number(minor)),
        name=f"Valkey {valkey}" if valkey else f"Redis {said.get('redis_version', '')}",
        policy=said.get("maxmemory_policy", ""),
        has_log=said.get("aof_enabled") == "1",
        syncs_always=appendfsync == "always",
        is_replica=said.get("role") == "slave",
        uptime_s=_number(said.get("uptime_in_seconds", "")),
    )


def _lines(info: str) -> Iterator[tuple[str, str]]:
    for line in info.splitlines():
        name, colon, value = line.partition(":")
        if colon and not line.startswith("#"):
            yield name, value


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
