"""A sentinel of our own: it watches one master and promotes a replica when that is gone."""

from __future__ import annotations

import signal
import socket as sockets
from pathlib import Path

from services.redis import RedisServer
from services.server import HOST, Server
from services.tls import Identity

__all__ = ["SERVICE", "Sentinel"]

SERVICE = "mymaster"
_LOOK_S = 1.0
_DOWN_AFTER_MS = 500


class Sentinel(Server):
    """A Redis or Valkey sentinel that decides alone about the service `SERVICE`.

    With *tls* it is asked at a port that speaks TLS; it watches its master in the clear.
    """

    stop_by = signal.SIGTERM

    def __init__(self, master: RedisServer, *, tls: Identity | None = None) -> None:
        super().__init__(master.program, durable=False, tls=tls)
        self._master = master

    @property
    def url(self) -> str:
        """The URL of the service, database 0."""
        return f"redis{'s' * bool(self._tls)}+sentinel://{HOST}:{self.port}/{SERVICE}/0"

    @property
    def socket(self) -> Path:
        """Its Unix socket."""
        return self.folder / "sentinel.sock"

    def _prepare(self) -> None:
        self.data.mkdir()
        lines = [
            f"bind {HOST}",
            f'dir "{self.data}"',
            f'unixsocket "{self.socket}"',
            f"sentinel monitor {SERVICE} {HOST} {self._master.port} 1",
            f"sentinel down-after-milliseconds {SERVICE} {_DOWN_AFTER_MS}",
            f"sentinel failover-timeout {SERVICE} 3000",
        ]
        (self.folder / "sentinel.conf").write_text("\n".join(lines), "utf-8")

    def _command(self) -> list[str]:
        config = self.folder / "sentinel.conf"
        return [str(self.program.path), str(config), "--port", str(self._port), "--sentinel"]

    def _is_ready(self) -> bool:
        try:
            with sockets.create_connection((HOST, self._port), _LOOK_S) as line:
                line.sendall(b"PING\r\n")
                return line.recv(64).startswith(b"+PONG")
        except OSError:
            return False
