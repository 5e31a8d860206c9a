"""Where a server is: from a URL to what is needed to reach it, or the reason why not.

Rule of this module: it looks at texts and reaches nobody.
"""

from __future__ import annotations

from typing import Final

from attrs import evolve, field, frozen

from stem_core.plugin import (
    ConfigError,
    Host,
    InvalidURL,
    Secret,
    StemError,
    StemURL,
    TlsConfig,
    options_from_query,
)
from stem_redis.options import RedisOptions
from stem_redis.replicas import check_confirming
from stem_redis.tls import check_files

__all__ = ["Location", "database_beside", "location_of"]

_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_FORM: Final = "A URL for Redis is redis://user:password@host:6379/0, the last part a number."
_UNIX_FORM: Final = "Write redis+unix:///run/redis/redis.sock?db=0."
_SENTINEL_FORM: Final = "Write redis+sentinel://host:26379,host:26379/NAME/0."


@frozen(kw_only=True)
class Location:
    """One logical database of one server.

    Attributes:
        shown: the URL without its secrets.
        hosts: the server, or with *service* its sentinels; empty with *socket*.
        socket: path of a Unix socket; empty for none.
        service: what the sentinels call the master; empty without them.
        db: the number of the logical database.
        username, password: to log in; empty and None for not at all.
        tls: how to encrypt; None for plaintext.
        options: what the URL said beside.
    """

    shown: str
    hosts: tuple[Host, ...] = ()
    socket: str = ""
    service: str = ""
    db: int = 0
    username: str = ""
    password: Secret[str] | None = field(default=None, repr=False)
    tls: TlsConfig | None = None
    options: RedisOptions = field(factory=RedisOptions)

    @property
    def sentinel_tls(self) -> TlsConfig | None:
        """How to encrypt what is asked of the sentinels."""
        return None if self.options.sentinel_tls is False else self.tls


def location_of(url: StemURL, options: RedisOptions, tls: TlsConfig) -> Location:
    """Return where *url* leads.

    Raises:
        InvalidURL: a part of it means nothing here.
        ConfigError: TLS settings for a connection without TLS, or an option out of range.
    """
    _check(options)
    secure = url.scheme == "rediss"
    if tls.is_enabled and not secure:
        raise ConfigError(
            f"TLS settings are given, and {url.redacted(RedisOptions)} does not use TLS",
            way_out="Use rediss://, or unset STEM_TLS_*.",
        )
    if options.sentinel_tls and not (secure and url.variant == "sentinel"):
        raise ConfigError(
            f"sentinel_tls=true: {url.redacted(RedisOptions)} names no sentinels that are asked "
            "over TLS",
            way_out=f"{_SENTINEL_FORM} With TLS it begins with rediss+sentinel://.",
        )
    if secure:
        check_files(tls)
    common = Location(
        shown=url.redacted(RedisOptions),
        username=url.username,
        password=url.password,
        tls=tls if secure else None,
        options=options,
    )
    if url.variant == "unix":
        return _unix(url, common)
    if url.variant == "sentinel":
        return _sentinel(url, common)
    return _tcp(url, common)


def database_beside(location: Location, results: StemURL | None) -> int | None:
    """Return the other logical database of this very server that *results* names, if it does.

    Whether it is the same server in truth is told by the server itself, later.
    """
    if results is None or results.scheme not in ("redis", "rediss"):
        return None
    try:
        options = options_from_query(RedisOptions, results.query, source="url")
        other = location_of(results, options, location.tls or TlsConfig())
    except StemError:
        return None  # whoever opens it says what is wrong with it
    is_same = (other.hosts, other.socket, other.service) == (
        location.hosts,
        location.socket,
        location.service,
    )
    return other.db if is_same and other.db != location.db else None


def _tcp(url: StemURL, common: Location) -> Location:
    if len(url.hosts) > 1:
        raise InvalidURL(
            f"{common.shown} names {len(url.hosts)} hosts, and a server has one",
            way_out=f"With sentinels: {_SENTINEL_FORM}",
        )
    host = url.hosts[0] if url.hosts else Host("localhost")
    return evolve(common, hosts=(_with_port(host, _PORT),), db=_db(url.path, common, _FORM))


def _unix(url: StemURL, common: Location) -> Location:
    if url.hosts:
        raise InvalidURL(
            f"{common.shown} has two slashes, so {url.netloc!r} would be a host", way_out=_UNIX_FORM
        )
    if url.path in ("", "/"):
        raise InvalidURL(f"{common.shown} names no socket", way_out=_UNIX_FORM)
    if common.tls is not None:
        raise InvalidURL(f"{common.shown}: a socket has no TLS", way_out=_UNIX_FORM)
    return evolve(common, socket=url.path, db=common.options.db or 0)


def _sentinel(url: StemURL, common: Location) -> Location:
    service, _, db = url.path[1:].partition("/")
    if not url.hosts or not service:
        raise InvalidURL(
            f"{common.shown} needs the hosts of the sentinels and the name of a master",
            way_out=_SENTINEL_FORM,
        )
    hosts = tuple(_with_port(host, _SENTINEL_PORT) for host in url.hosts)
    return evolve(common, hosts=hosts, service=service, db=_db(db, common, _SENTINEL_FORM))


def _with_port(host: Host, port: int) -> Host:
    return host if host.port is not None else Host(host.name, port)


def _db(path: str, common: Location, form: str) -> int:
    text, chosen = path.removeprefix("/"), common.options.db
    if not text:
        return chosen or 0
    if not (text.isascii() and text.isdigit() and len(text) < 7):
        raise InvalidURL(
            f"{common.shown}: the logical database is not a whole number", way_out=form
        )
    if chosen is not None and chosen != int(text):
        raise InvalidURL(
            f"{common.shown} names two logical databases, in its path and by db=",
            way_out="Keep one of them.",
        )
    return int(text)


def _check(options: RedisOptions) -> None:
    for name in ("db", "results_db"):
        value = getattr(options, name)
        if value is not None and value < 0:
            raise ConfigError(f"{name}={value}: a logical database is a number from 0 up")
    for name in ("connect_timeout", "timeout", "max_connections"):
        if getattr(options, name) <= 0:
            raise ConfigError(f"{name}={getattr(options, name)}: must be above 0")
    check_confirming(options)
