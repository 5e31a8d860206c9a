"""Values that must never be seen: in a repr, a log, a traceback or a pickle.

Rule of this module: the only way to a secret's value is `Secret.reveal`, so
that a search for that word finds every place that handles one.
"""

from __future__ import annotations

import base64
import hmac
import re
from typing import Any, Final, Generic, NoReturn, TypeVar
from urllib.parse import quote, quote_plus

__all__ = ["HIDDEN", "Secret", "is_secret_name", "redact"]

HIDDEN: Final = "***"
"""What stands in the place of a secret, whatever its length."""

_SECRET_NAME: Final = re.compile(r"pass|pwd|secret|token|key|credential|auth", re.IGNORECASE)

T = TypeVar("T", str, bytes)


class Secret(Generic[T]):
    """A text or bytes that shows itself as ``***`` everywhere.

    Compares in constant time. Refuses to be pickled, and copies are the same
    object. It is no attrs class on purpose: `attrs.asdict` stops at it.
    """

    __slots__ = ("__value",)

    def __init__(self, value: T) -> None:
        self.__value: T = value

    def reveal(self) -> T:
        """Return the value. Hand it to a driver at once; keep, log or raise it never."""
        return self.__value

    def __repr__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)

    def __bool__(self) -> bool:
        return bool(self.__value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        if type(self.__value) is not type(other.__value):
            return False
        return hmac.compare_digest(_as_bytes(self.__value), _as_bytes(other.__value))

    def __hash__(self) -> int:
        return hash(self.__value)

    def __copy__(self) -> Secret[T]:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret[T]:
        return self

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Secret does not travel in a pickle; let the other side read it itself")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        self.__getstate__()


def is_secret_name(name: str) -> bool:
    """Return whether an option of this *name* holds what must not be shown."""
    return _SECRET_NAME.search(name) is not None


def redact(text: str, *secrets: Secret[str] | Secret[bytes] | None) -> str:
    """Return *text* with every occurrence of each of *secrets* hidden.

    Finds them as they are, percent-encoded, and bytes also in base64. A piece of
    a secret is not found: text that may hold pieces must not be shown at all.
    """
    spellings = {s for secret in secrets if secret for s in _spellings(secret.reveal())}
    for spelling in sorted(spellings, key=len, reverse=True):
        text = text.replace(spelling, HIDDEN)
    return text


def _spellings(value: str | bytes) -> set[str]:
    raw = _as_bytes(value)
    plain = {raw.decode("utf-8", "replace"), quote(raw, safe=""), quote(raw), quote_plus(raw)}
    if isinstance(value, bytes):
        plain |= {base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()}
    return plain


def _as_bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
