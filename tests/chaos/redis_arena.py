"""The arena on a real Redis or Valkey, and a ledger that is read from its append-only file.

That file is the server's own account of what it has written, step by step. It knows the
first numbers of two of Stem's values and no more.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from chaos.arena import Arena
from chaos.ledger import Ledger
from services.redis import RedisServer

from stem_core.testing.faults.truth import Commit

_ROW, _PLACE, _SETTLED, _DEAD = struct.Struct("<3B3I7Q"), 0, 8, 4
_STONE = struct.Struct("<QQQ8s")
_MESSAGE = b"{stem}:m:"


class AppendOnlyLedger(Ledger):
    """All settlements that the server with the files in *folder* has accepted."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self._ends: dict[Path, int] = {}
        self._commits: list[Commit] = []
        self._seen: set[tuple[str, int]] = set()
        self._ended: set[str] = set()

    def begin(self) -> None:
        """Do nothing: the server keeps its file by itself."""

    def commits(self) -> list[Commit]:
        """Return them in the order in which they were made."""
        for path in sorted(self.path.rglob("*.aof")):
            start = self._ends.get(path, 0)
            with path.open("rb") as file:
                file.seek(start)
                for end, words in commands(file.read()):
                    self._note(words)
                    self._ends[path] = start + end
        return self._commits

    def ended(self) -> set[str]:
        """Return the ids that have ended so far."""
        self.commits()
        return self._ended

    def can_write(self, within_s: float) -> bool:
        """True: a client that stands still holds up nobody, for each step is the server's."""
        return True

    def _note(self, words: list[bytes]) -> None:
        if len(words) < 3 or not words[1].startswith(_MESSAGE):
            return
        id = words[1].removeprefix(_MESSAGE).decode()
        if words[0].upper() == b"SET" and len(words[2]) == _STONE.size:
            self._commit(id, _STONE.unpack(words[2])[2], is_final=True)
        elif words[0].upper() == b"HSET" and b"s" in words[2::2]:
            row = words[3::2][words[2::2].index(b"s")]
            numbers = _ROW.unpack_from(row)
            self._commit(id, numbers[_SETTLED], is_final=numbers[_PLACE] == _DEAD)

    def _commit(self, id: str, fence: int, *, is_final: bool) -> None:
        if not fence or (id, fence) in self._seen:
            return
        self._seen.add((id, fence))
        self._commits.append(Commit(id, fence, is_final))
        if is_final:
            self._ended.add(id)


def commands(text: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Read commands as a server writes them; each with where it ends. A torn one is left."""
    at = 0
    while text[at : at + 1] == b"*":
        words, at = _command(text, at)
        if words is None:
            return
        yield at, words


def _command(text: bytes, at: int) -> tuple[list[bytes] | None, int]:
    count, at = _number(text, at)
    words: list[bytes] = []
    while count is not None and len(words) < count:
        size, at = _number(text, at)
        if size is None or at + size + 2 > len(text):
            return None, at
        words.append(text[at : at + size])
        at += size + 2
    return (None if count is None else words), at


def _number(text: bytes, at: int) -> tuple[int | None, int]:
    end = text.find(b"\r\n", at)
    return (None, at) if end < 0 else (int(text[at + 1 : end]), end + 2)


class RedisArena(Arena):
    """A server of its own that writes all it is told to its append-only file."""

    def __init__(self, folder: Path, dice: random.Random) -> None:
        super().__init__(folder, dice)
        never = {"auto-aof-rewrite-percentage": "0"}  # a rewritten file tells of no step
        self.server = RedisServer(durable=True, config=never)

    def __enter__(self) -> Self:
        self.server.__enter__()
        self.url = self.server.url
        self.ledger = AppendOnlyLedger(self.server.data)
        self.broker = str(self.server.program)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        self.server.__exit__(kind, error, trace)
