"""PgBouncer: where it is, and one of our own before a server. No Python package brings it."""

from __future__ import annotations

import os
import re
import signal
import socket as sockets
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from services.finding import NoServer, Place, Program, Surroundings, search, there
from services.postgres import PostgresServer
from services.runners import MYSELF, Runner, others
from services.server import HOST, Server

__all__ = ["PROGRAM", "PgBouncer", "programs", "programs_in"]

PROGRAM = "STEM_TEST_PGBOUNCER"

_VERSION = re.compile(r"PgBouncer (\d+)\.(\d+)\.(\d+)")
_LOOK_S = 1.0
_USERS = ("postgres",)
_SMALL = {
    "pool_mode": "transaction",
    "default_pool_size": "3",
    "max_client_conn": "500",
}
"""As few sessions as make everybody meet what others have left in one."""


def programs_in(surroundings: Surroundings) -> list[Program]:
    """Return the programs in *surroundings*, the preferred one first.

    Raises:
        NoServer: there is none; in one sentence, for there are few places.
    """
    try:
        return search("PgBouncer", _places(surroundings), _asked)
    except NoServer as error:
        _, *attempts, _ = str(error).splitlines()
        tried = "; ".join(attempt.removeprefix("  - ") for attempt in attempts)
        raise NoServer(
            f"no PgBouncer for the tests ({tried}): install the package `pgbouncer` of your "
            f"system, or name the file in {PROGRAM}"
        ) from None


@cache
def programs() -> list[Program]:
    """Return the programs that are here, the preferred one first; never none.

    Raises:
        NoServer: there is none.
    """
    return programs_in(Surroundings.here())


def _places(here: Surroundings) -> Iterator[Place]:
    if named := here.named(PROGRAM):
        return iter(named)
    system = here.root / "usr/sbin/pgbouncer"  # which is not on everybody's PATH
    return iter([here.on_path("pgbouncer"), Place(str(system), system)])


def _asked(place: Place) -> Program:
    path = there(place)
    runner = _who_can()
    said = runner.run(str(path), "--version")
    found = _VERSION.search(said)
    if not found:
        raise OSError(f"{path} --version said {said.strip()!r:.80}")
    version = tuple(int(number) for number in found.groups())
    return Program("PgBouncer", version, path, place.label, runner)


def _who_can() -> Runner:
    """Return who may run it: it refuses to be run by root."""
    return others()[0] if os.geteuid() == 0 else MYSELF


class PgBouncer(Server):
    """A PgBouncer before *server*, in transaction mode and with few sessions.

    *config* is added to its settings, as ``{"default_pool_size": "1"}``. It lets everybody in who
    is called as the superuser, and speaks to whatever *server* is at the time.
    """

    stop_by = signal.SIGINT

    def __init__(
        self,
        server: PostgresServer,
        program: Program | None = None,
        *,
        config: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(program or programs()[0], durable=False, tls=None)
        self._server = server
        self._config = {**_SMALL, **(config or {})}

    @property
    def url(self) -> str:
        """The URL of the database ``postgres``, without an option for poolers."""
        return f"postgresql://postgres@{HOST}:{self.port}/postgres"

    @property
    def socket(self) -> Path:
        """Its Unix socket; drivers ask for its folder."""
        return self.folder / f".s.PGSQL.{self._port}"

    def _prepare(self) -> None:
        self.data.mkdir()
        users = self.data / "users"
        users.write_text("".join(f'"{user}" ""\n' for user in _USERS), "utf-8")

    def _command(self) -> list[str]:
        settings = {
            **self._config,
            "listen_addr": HOST,
            "listen_port": str(self._port),
            "unix_socket_dir": str(self.folder),
            "auth_type": "trust",
            "auth_file": str(self.data / "users"),
        }
        lines = [f"{name} = {value}" for name, value in settings.items()]
        databases = ["[databases]", f"* = host={HOST} port={self._server.port}"]
        config = self.folder / "pgbouncer.ini"
        config.write_text("\n".join([*databases, "[pgbouncer]", *lines, ""]), "utf-8")
        return [str(self.program.path), str(config)]

    def _is_ready(self) -> bool:
        """Ask at the socket, which is surely ours, whether there is TLS: the answer is a letter."""
        with sockets.socket(sockets.AF_UNIX) as line:
            line.settimeout(_LOOK_S)
            try:
                line.connect(str(self.socket))
                line.sendall(b"\x00\x00\x00\x08\x04\xd2\x16\x2f")
                return line.recv(1) in (b"S", b"N")
            except OSError:
                return False
