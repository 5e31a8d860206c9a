"""What the errors of Redis and its driver mean for the caller. Translated here and nowhere else.

Rule of this module: no text of a driver's error is repeated unless it comes from the
server, and the server never repeats a password.
"""

from __future__ import annotations

import builtins
import re
import ssl
from collections.abc import Mapping
from typing import Final, TypeVar

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ConnectionError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from stem_core.plugin import Fault, StoreError, StoreFull, StoreMisconfigured, StoreUnavailable

__all__ = ["WrongType", "code_of", "translated"]

E = TypeVar("E", bound=BaseException)

_CODE: Final = re.compile(r"\b([A-Z][A-Z]{3,})\b")
_CODES: Final = frozenset(
    {
        *("LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MISCONF", "NOREPLICAS"),
        *("READONLY", "UNBLOCKED", "NOAUTH", "WRONGPASS", "NOPERM", "DENIED"),
        *("NOSCRIPT", "NOGROUP", "WRONGTYPE", "CROSSSLOT", "MOVED", "ASK", "NOPROTO"),
    }
)

_NOT_ALLOWED_IN_A_SCRIPT: Final = (
    "ACL failure in script",
    "The user executing the script can't",
)
"""Said by servers in place of the code, in several releases."""

_MOVE_IT: Final = "Rename or delete that key, or choose another namespace."

_BACKOFF: Final[Mapping[str, str]] = {
    "LOADING": "is loading its data",
    "BUSY": "is busy with a script that takes too long",
    "MASTERDOWN": "is a replica that has lost its master",
    "CLUSTERDOWN": "is part of a cluster that is down",
    "TRYAGAIN": "is moving keys",
    "MISCONF": "does not accept writes, for it cannot save its data to disk",
    "NOREPLICAS": "has too few replicas to accept writes",
}
_RECONNECT: Final[Mapping[str, str]] = {
    "READONLY": "is a replica and cannot be written to",
    "UNBLOCKED": "has changed its role",
}
_CONFIG: Final[Mapping[str, tuple[str, str]]] = {
    "NOAUTH": ("asks for a password", "Write it into the URL: redis://user:password@host."),
    "WRONGPASS": (
        "refuses this user and password",
        "Percent-encode what is special in them: '@' as %40, '/' as %2F, '#' as %23.",
    ),
    "NOPERM": ("does not allow this user what Stem needs", "See the ACL in docs/brokers/redis.md."),
    "DENIED": ("is in protected mode", "Set a password at the server, or bind it to an address."),
    "CROSSSLOT": ("is a cluster, where this cannot be done in one step", "Use a single server."),
    "MOVED": ("is part of a cluster and not the part that keeps these keys", "Name that part."),
    "ASK": ("is part of a cluster and not the part that keeps these keys", "Name that part."),
    "NOPROTO": ("speaks another protocol", "Redis 6.2 or Valkey 7.2 is the oldest that works."),
}


class WrongType(StoreError):
    """A key of ours holds what somebody else wrote; the server does not say which."""

    default_fault = Fault.DATA


_MISTRUST: Final = (
    "CERT",  # not trusted, of another name, out of date, asked for
    "UNKNOWN_CA",
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "PROTOCOL",
    "HANDSHAKE_FAILURE",
    "CIPHER",
    "KEY_TOO_SMALL",
    "UNRECOGNIZED_NAME",
    "LEGACY_RENEGOTIATION",
)
"""What people must mend, in the words of OpenSSL; all else that TLS says is of a bad connection."""


def code_of(error: BaseException) -> str:
    """Return the code word in an error of the server, such as ``WRONGTYPE``; empty if none.

    An error inside a script stands behind other words.
    """
    text = str(error)
    if "OOM" in text.split()[:1] or "OOM command" in text or "-OOM" in text or " OOM " in text:
        return "OOM"
    if any(words in text for words in _NOT_ALLOWED_IN_A_SCRIPT):
        return "NOPERM"
    return next((word for word in _CODE.findall(text) if word in _CODES), "")


def translated(error: BaseException, shown: str) -> StoreError:
    """Return *error*, which a call to the server at *shown* raised, as one of ours."""
    if isinstance(error, StoreError):
        return error
    refused = _first(error, ssl.SSLError)
    if refused is not None and _is_mistrust(refused):
        return _tls_refused(refused, shown)
    code = _known_code(error)
    if code == "OOM":
        return StoreFull(
            f"{shown} has no room: maxmemory is reached",
            way_out="Raise maxmemory, or let workers drain the queues.",
        )
    if code in _BACKOFF:
        return StoreUnavailable(f"{shown} {_BACKOFF[code]}", fault=Fault.BACKOFF)
    if code in _RECONNECT:
        return StoreUnavailable(f"{shown} {_RECONNECT[code]}")
    if code in _CONFIG:
        what, way_out = _CONFIG[code]
        return StoreMisconfigured(f"{shown} {what}", way_out=way_out)
    if code == "WRONGTYPE":
        return WrongType(f"{shown}: a key of Stem holds something else", way_out=_MOVE_IT)
    if code == "NOSCRIPT":
        return StoreError(f"{shown} has forgotten a script", fault=Fault.RELOAD)
    return _by_class(error, shown)


def _known_code(error: BaseException) -> str:
    if isinstance(error, AuthenticationError):
        return "NOAUTH" if "required" in str(error) else "WRONGPASS"
    if isinstance(error, AuthorizationError):
        return "NOPERM"
    # The driver makes classes of some codes and takes the word away.
    by_class = {
        "OutOfMemoryError": "OOM",
        "BusyLoadingError": "LOADING",
        "ReadOnlyError": "READONLY",
        "NoPermissionError": "NOPERM",
        "NoScriptError": "NOSCRIPT",
        "ClusterDownError": "CLUSTERDOWN",
        "MasterDownError": "MASTERDOWN",
        "TryAgainError": "TRYAGAIN",
        "MovedError": "MOVED",
        "AskError": "ASK",
        "ClusterCrossSlotError": "CROSSSLOT",
    }
    for kind in type(error).__mro__:
        if kind.__name__ in by_class:
            return by_class[kind.__name__]
    return code_of(error) if isinstance(error, RedisError) else ""


def _by_class(error: BaseException, shown: str) -> StoreError:
    if isinstance(error, TimeoutError | builtins.TimeoutError):
        return StoreUnavailable(f"{shown} did not answer in time")
    if isinstance(error, ConnectionError | OSError | EOFError):
        return StoreUnavailable(f"{shown} cannot be reached{_reason(error)}")
    if isinstance(error, ResponseError):
        return StoreError(f"{shown} refuses a command: {error}", fault=Fault.DATA)
    return StoreUnavailable(f"{shown}: {type(error).__name__}")


def _reason(error: BaseException) -> str:
    """Say why the operating system refused, from its own words only."""
    refused = _first(error, OSError)
    return f": {refused.strerror}" if refused is not None and refused.strerror else ""


def _first(error: BaseException, kind: type[E]) -> E | None:
    """Return the first of *kind* among *error* and what led to it."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, kind):
        found = found.__cause__ or found.__context__
    return found


def _is_mistrust(error: ssl.SSLError) -> bool:
    reason = (getattr(error, "reason", "") or "").upper()
    return isinstance(error, ssl.SSLCertVerificationError) or any(
        words in reason for words in _MISTRUST
    )


def _tls_refused(error: ssl.SSLError, shown: str) -> StoreMisconfigured:
    words = (getattr(error, name, "") for name in ("verify_message", "reason"))
    why = next(filter(None, words), "the handshake failed")
    return StoreMisconfigured(
        f"{shown}: no trusted TLS connection: {why}",
        way_out="STEM_TLS_CA_CERT names the certificates to trust; the name in the URL must be "
        "one that the server's certificate has.",
    )
