"""The arena on a real Redis or Valkey, and a ledger that is read from its append-only file.

That file is the server's own account of what it has written, step by step. It knows the
first numbers of two of Stem's values and no more.
"""

from __future__ import annotations

import random
import shutil
import socket as sockets
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from chaos.arena import Arena
from chaos.ledger import Ledger
from services.redis import RedisServer

from stem_core.plugin import StemURL
from stem_core.testing.faults.proxy import FaultProxy
from stem_core.testing.faults.splitting import RESP
from stem_core.testing.faults.truth import Commit

_ROW, _PLACE, _SETTLED, _DEAD = struct.Struct("<3B3I7Q"), 0, 8, 4
_STONE = struct.Struct("<QQQ8s")
_MESSAGE = b"{stem}:m:"


class AppendOnlyLedger(Ledger):
    """All settlements that the server with the files in *folder* has accepted.

    Attributes:
        wiped: ids of which the server knew something when everything was taken from it.
        gone: those of them that had not ended.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self.wiped: set[str] = set()
        self.gone: set[str] = set()
        self._known: set[str] = set()
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
        """Return the ids that have ended so far, or are gone with all that the server held."""
        self.commits()
        return self._ended | self.gone

    def begin_anew(self) -> None:
        """Read the last of the server's files, which has ended and is to lose them."""
        self.commits()
        self._ends.clear()
        self._wipe()

    def can_write(self, within_s: float) -> bool:
        """True: a client that stands still holds up nobody, for each step is the server's."""
        return True

    def _note(self, words: list[bytes]) -> None:
        if words[0].upper() == b"FLUSHALL":
            self._wipe()
        if len(words) < 3 or not words[1].startswith(_MESSAGE):
            return
        id = words[1].removeprefix(_MESSAGE).decode()
        self._known.add(id)
        if words[0].upper() == b"SET" and len(words[2]) == _STONE.size:
            self._commit(id, _STONE.unpack(words[2])[2], is_final=True)
        elif words[0].upper() == b"HSET" and b"s" in words[2::2]:
            row = words[3::2][words[2::2].index(b"s")]
            numbers = _ROW.unpack_from(row)
            self._commit(id, numbers[_SETTLED], is_final=numbers[_PLACE] == _DEAD)

    def _wipe(self) -> None:
        self.wiped |= self._known
        self.gone |= self._known - self._ended
        self._known.clear()

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
        self.ledger = self.log = AppendOnlyLedger(self.server.data)
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

    def begin_empty(self) -> None:
        """Start the server, which was killed, without anything that it held."""
        self.log.begin_anew()
        shutil.rmtree(self.server.data)
        self.server.start()

    def tell(self, *words: str | bytes | int) -> bytes:
        """Say a command to the server at its socket; return what it answers first."""
        return self.tell_all([words])

    def tell_all(self, commands: Sequence[Sequence[str | bytes | int]]) -> bytes:
        """Say *commands* in one transaction, or one as it is; return the answer's first bytes."""
        several = len(commands) > 1
        said = [("MULTI",), *commands, ("EXEC",)] if several else commands
        with sockets.socket(sockets.AF_UNIX) as line:
            line.settimeout(10)
            line.connect(str(self.server.socket))
            line.sendall(b"".join(map(packed, said)))
            return line.recv(1 << 16)


def packed(words: Sequence[str | bytes | int]) -> bytes:
    """Write a command as a client does."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    told = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
    return b"*%d\r\n%s" % (len(parts), told)


class SpoiledRedisArena(RedisArena):
    """The same behind a network that the trial can spoil; everybody's way leads through it."""

    def __enter__(self) -> Self:
        super().__enter__()
        port = StemURL.parse(self.url).hosts[0].port
        self._way = FaultProxy.running(port=port, dialect=RESP)
        self.proxy = self._way.__enter__()
        self.url = f"redis://{self.proxy.netloc}/0"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        self._way.__exit__(kind, error, trace)
