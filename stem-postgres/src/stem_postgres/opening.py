"""The way to a connection: one address after the other, each with its own time.

The only module that opens connections. The driver would go through the addresses by itself, but
with no less than 2 s for each, and it does not tell how many there are.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg.rows import tuple_row

from stem_core.plugin import Host, StoreError, StoreMisconfigured, StoreUnavailable
from stem_postgres.arrays import register
from stem_postgres.errors import translated
from stem_postgres.location import Location
from stem_postgres.prepared import Prepared
from stem_postgres.wire import WAYS_TO_FAIL, Wire

__all__ = ["opened"]

_SESSION: Final = {
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "lock_timeout": "0",
}
"""What a role may set otherwise, for its people, and a program must not meet."""

_NO_PASSWORD: Final = "nobody is asked for a password"

Address = Mapping[str, Any]
"""Parameters of libpq that lead to one place."""


async def opened(location: Location) -> Wire:
    """Return a connection to the first host of *location* that gives one.

    Raises:
        StoreMisconfigured: every host refuses for good.
        StoreUnavailable: one that may come back is among them.
    """
    refusals = []
    for host in location.hosts or (None,):
        try:
            return await _at_host(location, host)
        except StoreError as error:
            refusals.append(error)
    final = [each for each in refusals if isinstance(each, StoreMisconfigured)]
    if final and len(final) < len(refusals):
        raise StoreUnavailable(final[0].message, way_out=final[0].way_out)
    raise refusals[-1]


async def _at_host(location: Location, host: Host | None) -> Wire:
    """Return a connection to *host*; what one of its addresses refuses for good, it refuses."""
    refusal: StoreError | None = None
    try:
        async with _in_time(location):
            addresses = await _addresses(host)
    except (*WAYS_TO_FAIL, UnicodeError) as error:
        raise translated(error, location.shown) from None
    for address in addresses:
        try:
            async with _in_time(location):
                return await _at_address(location, address)
        except WAYS_TO_FAIL as error:
            mine = translated(error, location.shown, location.schema, at_log_in=True)
            if not isinstance(refusal, StoreMisconfigured):
                refusal = mine
    raise refusal or StoreUnavailable(f"{location.shown} has no address")


def _in_time(location: Location) -> asyncio.Timeout:
    return asyncio.timeout(location.options.connect_timeout / 1000)


async def _addresses(host: Host | None) -> Sequence[Address]:
    """Return every address of *host*; of none, wherever libpq goes by itself."""
    if host is None:
        return [{}]
    there = {"host": host.name, "port": str(host.port or 5432)}
    if host.name.startswith(("/", "@")) or os.environ.get("PGHOSTADDR"):
        return [there]
    found = await asyncio.get_running_loop().getaddrinfo(
        host.name, there["port"], type=socket.SOCK_STREAM
    )
    names = dict.fromkeys(str(place[0]) for *_, place in found)
    return [{**there, "hostaddr": name} for name in names]


async def _at_address(location: Location, address: Address) -> Wire:
    options = location.options
    wire = await Wire.connect(
        autocommit=not options.pooler,
        row_factory=tuple_row,
        prepare_threshold=None if options.pooler else 3,
        **{**_settings(location), **address},
    )
    register(wire)
    if not options.pooler:
        wire.prepared = Prepared()
    else:
        # Nothing of a session is kept: it is said at the beginning of each transaction.
        await wire.set_isolation_level(psycopg.IsolationLevel.READ_COMMITTED)
        await wire.set_read_only(False)
    return wire


def _settings(location: Location) -> dict[str, Any]:
    options = location.options
    patience_s = max(2, options.timeout // 1000)
    found: dict[str, Any] = {
        "dbname": location.database,
        "user": location.username,
        "password": location.password.reveal() if location.password else "",
        "passfile": options.passfile,
        "target_session_attrs": options.target_session_attrs,
        "application_name": "stem",
        "client_encoding": "UTF8",
        "connect_timeout": options.connect_timeout // 1000 + 2,  # ours is over before that
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 2,
        "tcp_user_timeout": 1000 * patience_s + 10_000,
        **location.tls,
    }
    if "PGSERVICE" not in os.environ:
        # Without one libpq asks at the terminal for that of an encrypted key, and all stands still.
        found["sslpassword"] = _NO_PASSWORD
    if not options.pooler:
        found["options"] = _session(options.timeout)
    return {name: value for name, value in found.items() if value != ""}


def _session(timeout_ms: int) -> str:
    wanted = {**_SESSION, "statement_timeout": str(timeout_ms)}
    return " ".join(
        f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in wanted.items()
    )
