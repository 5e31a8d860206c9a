"""A sentinel of our own: it watches one master and promotes a replica when that is gone."""

from __future__ import annotations

import signal
import socket as sockets
from pathlib import Path

from services.redis import RedisServer
from services.server import HOST, Server

__all__ = ["SERVICE", "Sentinel"]

SERVICE = "mymaster"
_LOOK_S = 1.0
_DOWN_AFTER_MS = 500


class Sentinel(Server):
    """A Redis or Valkey sentinel that decides alone about the service `SERVICE`."""

    stop_by = signal.SIGTERM

    def __init__(self, master: RedisServer) -> None:
        super().__init__(master.program, durable=False, tls=None)
        self._master = master

    @property
    def url(self) -> str:
        """The URL of the service, database 0."""
        return f"redis+sentinel://{HOST}:{self.port}/{SERVICE}/0"

    @property
    def socket(self) -> Path:
        """It has none that anybody uses."""
        return self.folder / "none.sock"

    def _prepare(self) -> None:
        self.data.mkdir()
        lines = [
            f"bind {HOST}",
            f'dir "{self.data}"',
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
