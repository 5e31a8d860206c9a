"""Every way in which the driver and the server fail, as one of our errors.

What a server says is shown only where its words cannot hold a secret: a password, or a value of a
statement, which servers repeat in their details.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

import psycopg

from stem_core.plugin import (
    Fault,
    Secret,
    StoreError,
    StoreFull,
    StoreMisconfigured,
    StoreUnavailable,
)

__all__ = ["is_lost_race", "migrate_up", "translated", "without_session"]

E = TypeVar("E", bound=BaseException)

_RECONNECT: Final[Mapping[str, str]] = {
    "25006": "cannot be written to: it is a standby, or read-only",
    "57P01": "was shut down, or an operator ended this connection",
    "57P02": "has crashed and comes back",
    "57P03": "is starting up or shutting down",
    "57P05": "ended a connection that was idle for long",
    "25P03": "ended a connection whose transaction was idle",
}
_BACKOFF: Final[Mapping[str, str]] = {
    "53300": "has no connection left for this user",
    "55P03": "holds a lock that was not free in time",
    "57014": "did not answer in time",
    "25P04": "did not answer in time",
    "55006": "is busy",
    "53400": "has reached a limit of its configuration",
}
_RELOAD: Final = ("0A000", "26000")
"""The server's plan of a statement is not there, or is that of another version."""

_FULL: Final[Mapping[str, str]] = {
    "53100": "its disk is full",
    "53200": "it is out of memory",
}
_SESSION_OF_OTHERS: Final = "42P05"
"""A statement is prepared already where we have begun a session: it is not ours alone."""

_TELLING: Final = "PreCommit_Notify"
"""Where the server says that its queue of notifications is full, whatever language it speaks."""

_HIDDEN: Final = str(Secret(""))
_MISSING: Final = ("42P01", "3F000", "42883", "42703", "42804")
_ACCOUNTS: Final[Mapping[str, tuple[str, str]]] = {
    "28P01": (
        "refuses this user and password",
        "Percent-encode what is special in them: '@' as %40, '/' as %2F, '#' as %23.",
    ),
    "28000": ("does not let this user in from here", "See pg_hba.conf at the server."),
    "3D000": ("has no database of this name", "The database is the path of the URL."),
    "42501": (
        "does not allow this user what Stem needs",
        "See the grants in docs/brokers/postgres.md.",
    ),
}

# Of a log-in that fails the driver tells no codes, only words: in English, but for the server's.
_WORDS: Final = (
    ("password authentication failed", "28P01"),
    ("no password supplied", "28P01"),
    ("no pg_hba.conf entry", "28000"),
    ("too many connections", "53300"),  # also "for role" and "for database"
    ("too many clients", "53300"),
    ("remaining connection slots", "53300"),
    ("role ", "28000"),
    ("is not permitted to log in", "28000"),
    ("database ", "3D000"),
    ("the database system is", "57P03"),
    ("session is read-only", "25006"),
    ("session is not read-only", "25006"),
    ("server is in hot standby", "25006"),
    ("unsupported startup parameter", _SESSION_OF_OTHERS),  # PgBouncer's, to any session setting
)

# What a person must mend, of all that ends a handshake; the same way out for each.
_BY_KEY: Final = (
    "STEM_TLS_CLIENT_KEY must name a PEM file that is not encrypted, of the key of "
    "STEM_TLS_CLIENT_CERT; the worker alone may read it. Decrypt one: openssl pkey -in KEY -out "
    "PLAIN."
)
_MISTRUST: Final = (
    "certificate",  # not trusted, of another name, out of date, asked for, or in no file
    "private key",
    "unknown ca",
    "does not support SSL",
    "invalid response to SSL negotiation",
    "wrong version number",
    "unsupported protocol",
    "protocol version",
    "no protocols available",
    "handshake failure",
    "no shared cipher",
    "key too small",
    "legacy renegotiation",
    "unrecognized name",
    "no application protocol",
    "sslmode",
)
_HUNG_UP: Final = ("eof", "EOF", "reset by peer", "closed unexpectedly", "Broken pipe", "timed out")
_OVER_TLS: Final = (
    "STEM_TLS_CA_CERT or sslrootcert= names the certificates to trust; the name "
    "in the URL must be one that the server's certificate has; sslmode= says how strict."
)


def is_lost_race(error: BaseException) -> bool:
    """Decide whether *error* says that the very same call will do, made again."""
    return isinstance(error, psycopg.Error) and error.sqlstate in ("40001", "40P01")


def translated(
    error: BaseException, shown: str, schema: str = "stem", *, at_log_in: bool = False
) -> StoreError:
    """Return *error*, which a call to the server at *shown* raised, as one of ours.

    Words are looked at only of what came *at_log_in*: a connection that stood once has proved
    that all is set up for it, and whatever ends it says nothing against that.
    """
    if isinstance(error, StoreError):
        return error
    if isinstance(error, TimeoutError | psycopg.errors.ConnectionTimeout):
        return StoreUnavailable(f"{shown} did not answer in time")
    if not isinstance(error, psycopg.Error):
        return _unreachable(error, shown)
    if error.sqlstate is None and at_log_in:
        return _refused(error, shown, schema)
    return _by_code(error.sqlstate or "", error, shown, schema) or _by_class(error, shown)


def migrate_up(shown: str) -> str:
    """Return the command that brings the tables at *shown* up to date, such that it can be run.

    A URL from which a secret was taken away cannot: then it is to be read where it is.
    """
    if _HIDDEN not in shown:
        return f"Run: stem migrate up '{shown.replace(chr(39), '%27')}'"
    return (
        "With this URL in STEM_BROKER_URL or STEM_RESULT_BACKEND_URL, where it is taken from, "
        "run: stem migrate up"
    )


def without_session(shown: str) -> StoreMisconfigured:
    """Return what is said when the server at *shown* gives us no session of our own."""
    return StoreMisconfigured(
        f"{shown} keeps no session for us: a pooler such as PgBouncer is in between",
        way_out="Add pooler=true to the URL, or name the server itself.",
    )


def _by_code(code: str, error: psycopg.Error, shown: str, schema: str) -> StoreError | None:
    if code in _RECONNECT:
        return StoreUnavailable(f"{shown} {_RECONNECT[code]}")
    if code in _BACKOFF:
        return StoreUnavailable(f"{shown} {_BACKOFF[code]}", fault=Fault.BACKOFF)
    if code in _RELOAD:
        return StoreError(f"{shown} has forgotten a statement", fault=Fault.RELOAD)
    if code in _FULL:
        return StoreFull(f"{shown}: {_FULL[code]}", way_out="Free some space at the server.")
    if code in _ACCOUNTS:
        what, way_out = _ACCOUNTS[code]
        return StoreMisconfigured(f"{shown} {what}", way_out=way_out)
    if code in _MISSING:
        return StoreMisconfigured(
            f"{shown}: what Stem keeps in the schema {schema} is not there, or is another version",
            way_out=migrate_up(shown),
        )
    if code == _SESSION_OF_OTHERS:
        return without_session(shown)
    if code in ("40001", "40P01"):
        return StoreError(f"{shown}: a transaction lost a race", fault=Fault.RETRY_TXN)
    if code == "08P01" and "statement pooling mode" in str(error):
        return StoreMisconfigured(
            f"{shown}: a pooler gives each statement to another session, and transactions to none",
            way_out="Set pool_mode = transaction there.",
        )
    if code.startswith("08"):
        return StoreUnavailable(f"{shown}: the connection is lost")
    if code == "54000" and error.diag.source_function == _TELLING:
        return StoreUnavailable(
            f"{shown} has no room for one more notification",
            way_out="A session that listens has been in one transaction for long: see "
            "pg_stat_activity, and end it; SELECT pg_notification_queue_usage() makes room then.",
            fault=Fault.BACKOFF,
        )
    if code[:2] in ("22", "23", "42", "54"):
        what = error.diag.message_primary or type(error).__name__
        return StoreError(f"{shown} refuses a call: {what}", fault=Fault.DATA)
    return None


def _code_in(text: str) -> str:
    """Return the code that the words of a failed log-in stand for; empty if it is not known."""
    fatal = text.rpartition("FATAL:")[2] if "FATAL:" in text else text
    for words, code in _WORDS:
        if words in fatal and (code != "3D000" or "does not exist" in fatal):
            return code
    return ""


def _refused(error: psycopg.Error, shown: str, schema: str) -> StoreError:
    """Return what is said of a log-in that failed with *error*."""
    text = str(error)
    code = _code_in(text)
    lines = [line for line in text.splitlines() if "SSL" in line or "certificate" in line]
    is_hung_up = any(words in line for line in lines for words in _HUNG_UP)
    if code == "28000" and is_hung_up:
        code = ""  # TLS was cut, and only then it was tried without, where that is not allowed
    if found := _by_code(code, error, shown, schema):
        return found
    if "private key" in text:
        return StoreMisconfigured(
            f"{shown}: the key of the client's certificate cannot be used", way_out=_BY_KEY
        )
    if any(words in text for words in _MISTRUST):
        return StoreMisconfigured(f"{shown}: no trusted TLS connection", way_out=_OVER_TLS)
    for words in ("Connection refused", "timeout expired", "No such file", "Network is unreach"):
        if words in text:
            return StoreUnavailable(f"{shown} cannot be reached: {words.split(' unr')[0]}")
    if lines and not is_hung_up:
        return StoreUnavailable(f"{shown}: the TLS handshake failed", way_out=_OVER_TLS)
    return _by_class(error, shown)


def _by_class(error: psycopg.Error, shown: str) -> StoreError:
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return StoreUnavailable(f"{shown}: the connection is lost")
    return StoreError(f"{shown}: {type(error).__name__}", fault=Fault.DATA)


def _unreachable(error: BaseException, shown: str) -> StoreError:
    why = error.strerror if isinstance(error, OSError) else type(error).__name__
    return StoreUnavailable(f"{shown} cannot be reached: {why}")
