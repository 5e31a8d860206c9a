"""Where a database is: from a URL to what is needed to reach it, or the reason why not.

Rule of this module: it looks at texts and opens nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from stem_core.plugin import ConfigError, Host, InvalidURL, Secret, StemURL, TlsConfig
from stem_postgres.options import PostgresOptions

__all__ = ["Location", "location_of"]

_FORM: Final = "A URL for Postgres is postgresql://user:password@host:5432/database."
_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SESSIONS: Final = ("any", "read-write", "primary")
_ON_STANDBYS: Final = ("read-only", "standby", "prefer-standby")


@frozen(kw_only=True)
class Location:
    """One schema of one database.

    Attributes:
        shown: the URL without its secrets.
        hosts: tried in turn; empty for what libpq takes by itself.
        database: empty for the one that is called as the user.
        username, password: to log in; empty and None for what libpq takes by itself.
        tls: parameters of libpq.
        options: what the URL said beside.
    """

    shown: str
    hosts: tuple[Host, ...] = ()
    database: str = ""
    username: str = ""
    password: Secret[str] | None = field(default=None, repr=False)
    tls: Mapping[str, str] = field(factory=dict)
    options: PostgresOptions = field(factory=PostgresOptions)

    @property
    def schema(self) -> str:
        """The schema of the tables."""
        return self.options.schema


def location_of(url: StemURL, options: PostgresOptions, tls: TlsConfig) -> Location:
    """Return where *url* leads.

    Raises:
        InvalidURL: a part of it means nothing here.
        ConfigError: an option out of range, or one that contradicts the TLS settings.
    """
    _check(options)
    database = url.path.removeprefix("/")
    if "/" in database:
        raise InvalidURL(
            f"{url.redacted(PostgresOptions)}: the database has a '/' in its name", way_out=_FORM
        )
    if options.host and url.hosts:
        raise ConfigError(f"host={options.host}: the URL names a host too", way_out="Keep one.")
    if options.password is not None and url.password is not None:
        raise ConfigError("password= is given, and the URL has one too", way_out="Keep one.")
    return Location(
        shown=url.redacted(PostgresOptions),
        hosts=url.hosts or ((Host(options.host, options.port),) if options.host else ()),
        database=database,
        username=url.username,
        password=url.password or options.password,
        tls=_tls(options, tls),
        options=options,
    )


def _tls(options: PostgresOptions, tls: TlsConfig) -> Mapping[str, str]:
    """Return the parameters of libpq: what the URL asks for, or else the TLS settings."""
    if not tls.is_enabled:
        found = {"sslmode": options.sslmode, "sslrootcert": options.sslrootcert}
        return {name: value for name, value in found.items() if value}
    if options.sslmode in ("disable", "allow", "prefer"):
        raise ConfigError(
            f"sslmode={options.sslmode}: TLS settings are given, and this may go without TLS",
            way_out="Remove sslmode=, or unset STEM_TLS_*.",
        )
    checked = "require" if tls.allow_insecure else "verify-full"
    found = {
        "sslmode": options.sslmode or checked,
        "sslrootcert": tls.ca_certificate_file or options.sslrootcert,
        "sslcert": tls.client_certificate_file or "",
        "sslkey": tls.client_key_file or "",
    }
    if tls.allow_insecure:
        # libpq would check the server all the same if it knew certificates to trust.
        found["sslrootcert"] = ""
    return {name: value for name, value in found.items() if value}


def _check(options: PostgresOptions) -> None:
    if not _SCHEMA.fullmatch(options.schema):
        raise ConfigError(
            f"schema={options.schema!r}: must be of a to z, 0 to 9 and '_', at most 63 of them"
        )
    if options.target_session_attrs in _ON_STANDBYS:
        raise ConfigError(
            f"target_session_attrs={options.target_session_attrs}: Stem works on no standby, for "
            "every step of a task writes",
            way_out="Write target_session_attrs=read-write.",
        )
    for name, value, known in (
        ("sslmode", options.sslmode, _SSL_MODES),
        ("target_session_attrs", options.target_session_attrs, _SESSIONS),
    ):
        if value and value not in known:
            raise ConfigError(f"{name}={value!r}: must be one of {', '.join(known)}")
    for name in ("connect_timeout", "timeout", "max_connections", "poll"):
        if getattr(options, name) <= 0:
            raise ConfigError(f"{name}={getattr(options, name)}: must be above 0")
