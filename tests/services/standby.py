"""Two PostgreSQL servers of our own, one of which follows the other until it is promoted."""

from __future__ import annotations

import shutil

from services.postgres import PostgresServer
from services.server import HOST

__all__ = ["Member", "url_of_both"]


class Member(PostgresServer):
    """A PostgreSQL server that can be told to follow another one.

    One that follows streams what the other one writes and refuses writes itself, until somebody
    promotes it: then it is a server like any other.
    """

    _primary: PostgresServer | None = None

    def follow(self, primary: PostgresServer) -> None:
        """Begin as a copy of *primary*, which runs, with the next start. This one must not run."""
        if self.is_running:
            raise RuntimeError(f"{self} runs; stop() it")
        self._primary = primary
        if self._folder is not None:
            shutil.rmtree(self.data, ignore_errors=True)

    def _prepare(self) -> None:
        """Take the copy, if there is somebody to follow: the tool also writes down whom."""
        if self._primary is None:
            super()._prepare()
            return
        tool = str(self.program.path.with_name("pg_basebackup"))
        whom = f"host={HOST} port={self._primary.port} user=postgres"
        how = ("--checkpoint=fast", "--wal-method=stream", "--no-sync", "--write-recovery-conf")
        self.program.runner.run(tool, "-D", str(self.data), "-d", whom, *how, cwd=self.folder)


def url_of_both(one: PostgresServer, other: PostgresServer, user: str = "postgres") -> str:
    """Return the URL that names both of them, in this order, and wants the one that is written to.

    Drivers understand it as well as Stem.
    """
    hosts = f"{HOST}:{one.port},{HOST}:{other.port}"
    return f"postgresql://{user}@{hosts}/postgres?target_session_attrs=read-write"
