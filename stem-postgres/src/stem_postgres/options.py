"""What the URL of a Postgres store may say after its ``?``."""

from __future__ import annotations

from typing import Final

from attrs import field, frozen

from stem_core.plugin import Milliseconds, Secret

__all__ = ["PostgresOptions"]

_PATIENCE: Final = Milliseconds(5_000)
_A_SECOND: Final = Milliseconds(1_000)


@frozen(kw_only=True)
class PostgresOptions:
    """Options of ``postgresql://host:5432/database?…``.

    Attributes:
        schema: where the tables of Stem are; made by ``stem migrate up``.
        host, port: a folder with a Unix socket and the number in the name of that, for URLs
            that name no host.
        sslmode: as libpq knows it, from ``disable`` to ``verify-full``.
        sslrootcert: certificates to trust, if STEM_TLS_CA_CERT does not name them.
        target_session_attrs: which of several hosts will do: ``read-write`` or ``primary``, as
            libpq knows them. Stem works on no standby.
        connect_timeout: until a connection must be there, with TLS and log-in; for each address of
            each host.
        timeout: until the server must have answered a call.
        max_connections: at most so many for calls, in one handle; more calls wait. Whoever
            waits for work or results takes one more.
        poll: how often a waiting worker looks by itself, beside being told.
        notify: whoever waits is told what this handle does. ``off``: nobody is, and whoever waits
            here only polls.
        pooler: a transaction pooler such as PgBouncer is in between: nothing is kept in a
            session, so waiting workers are not told and only poll.
        passfile: a file of passwords, as libpq knows it.
        password: as in ``user:password@``, for a user that the URL does not name.
    """

    schema: str = "stem"
    host: str = ""
    port: int = 5432
    sslmode: str = ""
    sslrootcert: str = ""
    target_session_attrs: str = ""
    connect_timeout: Milliseconds = _PATIENCE
    timeout: Milliseconds = _PATIENCE
    max_connections: int = 4
    poll: Milliseconds = _A_SECOND
    notify: bool = True
    pooler: bool = False
    passfile: str = ""
    password: Secret[str] | None = field(default=None, repr=False)
