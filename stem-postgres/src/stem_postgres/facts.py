"""What a server says of itself at start, and what follows from it. Asks nothing itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from attrs import frozen

from stem_core.plugin import Durability, StoreMisconfigured, StoreUnavailable
from stem_postgres.errors import without_session

__all__ = ["Facts", "facts_of"]

_OLDEST: Final = 140_000


@frozen(kw_only=True)
class Facts:
    """One database, as it was when it was asked.

    Attributes:
        version, name: of the server, as a number and for people.
        encoding: of the database.
        syncs: it writes what it confirms through to disk.
        is_standby: it cannot be written to.
        timeout_ms: its ``statement_timeout`` in the session that asked.
        identity: names this schema of this database of this server, and no other.
        has_tables: Stem's are there, in some version.
    """

    version: int
    name: str
    encoding: str = "UTF8"
    syncs: bool = True
    is_standby: bool = False
    timeout_ms: int = 0
    identity: str = ""
    has_tables: bool = True

    @property
    def durability(self) -> Durability:
        """What an accepted message survives."""
        return Durability.SYNCED if self.syncs else Durability.CACHED

    def check(self, shown: str) -> None:
        """Refuse a server on which tasks cannot be safe.

        Raises:
            StoreMisconfigured: says what a person must change.
            StoreUnavailable: it is a standby now.
        """
        if self.version < _OLDEST:
            raise StoreMisconfigured(
                f"{shown} is {self.name}, which is too old",
                way_out="PostgreSQL 14 is the oldest that works.",
            )
        if self.encoding != "UTF8":
            raise StoreMisconfigured(
                f"{shown}: the database keeps text as {self.encoding}, and not every name fits",
                way_out="Create one with ENCODING 'UTF8'.",
            )
        if self.is_standby:
            raise StoreUnavailable(
                f"{shown} is a standby and cannot be written to",
                way_out="Name its primary, or all hosts and target_session_attrs=read-write.",
            )

    def check_session(self, shown: str, timeout_ms: int) -> None:
        """Refuse a session in which a setting of ours, a limit of *timeout_ms*, has not arrived.

        Raises:
            StoreMisconfigured: a pooler has left it out, and so all others; in another mode
                than that of sessions it would mix up prepared statements, too.
        """
        if self.timeout_ms != timeout_ms:
            raise without_session(shown)

    def worth_saying(self, shown: str) -> Iterator[str]:
        """Yield what an operator should know at start."""
        if not self.syncs:
            yield (
                f"{shown} confirms before it has written to disk (fsync or synchronous_commit is "
                "off): the last moments are lost in a power cut."
            )


def facts_of(row: tuple[object, ...]) -> Facts:
    """Read the row of `meta.facts`."""
    version, name, encoding, fsync, synchronous, is_standby, timeout, *ids, has_tables = row
    return Facts(
        version=int(str(version)),
        name=f"PostgreSQL {name}",
        encoding=str(encoding),
        syncs=fsync == "on" and synchronous != "off",
        is_standby=bool(is_standby),
        timeout_ms=int(str(timeout)),
        identity=":".join(map(str, ids)),
        has_tables=bool(has_tables),
    )
