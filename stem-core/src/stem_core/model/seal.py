"""What a signature covers, and what a detached signature is.

Rule of this module: bytes only. Nothing in here parses a body or knows a key.
"""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar, Final

from stem_core.model.value import Value

__all__ = ["CONTROL", "RESULT", "SCHEDULE", "TASK", "UNSIGNED", "Seal", "pae"]

TASK: Final = "stem.task.v1"
RESULT: Final = "stem.result.v1"
CONTROL: Final = "stem.control.v1"
SCHEDULE: Final = "stem.schedule.v1"

_PREFIX: Final = b"STEMv1"


def pae(purpose: str, algorithm: str, key_id: str, body: bytes) -> bytes:
    """Return the bytes that a signature over *body* is made of (pre-authentication encoding).

    Injective: two different argument tuples never give the same bytes, so a
    signature for one purpose, algorithm or key fits no other. The three texts are
    UTF-8 behind their length in four bytes, the body behind its length in eight,
    all big-endian.
    """
    return b"%b%b%b" % (_head(purpose, algorithm, key_id), len(body).to_bytes(8, "big"), body)


@lru_cache(256)  # the same for every body of a key
def _head(purpose: str, algorithm: str, key_id: str) -> bytes:
    return b"".join((_PREFIX, _counted(purpose), _counted(algorithm), _counted(key_id)))


def _counted(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(4, "big") + data


class Seal(Value, frozen=True, gc=False):
    """A detached signature: who vouches, and how. An empty one vouches for nothing.

    Attributes:
        algorithm: such as ``"hmac-sha256"``.
        key_id: which key made it; chosen by its owner, never secret.
        signature: the raw bytes.
    """

    _hidden: ClassVar[frozenset[str]] = frozenset({"signature"})

    algorithm: str = ""
    key_id: str = ""
    signature: bytes = b""

    @property
    def is_empty(self) -> bool:
        """True when nobody signed."""
        return not self.signature


UNSIGNED: Final = Seal()
"""No signature."""
