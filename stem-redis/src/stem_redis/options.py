"""What the URL of a Redis store may say after its ``?``."""

from __future__ import annotations

from typing import Final

from attrs import field, frozen

from stem_core.plugin import Milliseconds, Secret

__all__ = ["RedisOptions"]

_PATIENCE: Final = Milliseconds(5_000)


@frozen(kw_only=True)
class RedisOptions:
    """Options of ``redis://host:6379/0?…``.

    Attributes:
        db: the logical database, for URLs whose path names something else (a socket).
        results_db: of a broker: the logical database of the same server where the result
            backend keeps its records, so that a result commits in one step with the end of
            its task. Needed only where the URL of the backend spells the host otherwise.
        connect_timeout: until a connection must be there, with TLS and log-in.
        timeout: until the server must have answered a call.
        max_connections: at most so many for calls, in one handle; more calls wait.
        wait_replicas: of a broker: what is published counts only when so many replicas of the
            server have it too; 0 for none.
        wait_ms: how long they have for it, 100 ms if nothing is said. After that the publish is
            not confirmed, and is sent again.
        allow_eviction: use a server that throws keys away when it is full. Tasks are lost then.
        sentinel_username, sentinel_password: to log in at the sentinels themselves.
        sentinel_tls: false for sentinels that speak no TLS, though the master does. Whoever is
            between can then name a master of his own, and reads the password of the sentinels.
    """

    db: int | None = None
    results_db: int | None = None
    connect_timeout: Milliseconds = _PATIENCE
    timeout: Milliseconds = _PATIENCE
    max_connections: int = 16
    wait_replicas: int = 0
    wait_ms: Milliseconds | None = None
    allow_eviction: bool = False
    sentinel_username: str = ""
    sentinel_password: Secret[str] | None = field(default=None, repr=False)
    sentinel_tls: bool | None = None
