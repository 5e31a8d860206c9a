"""The wire of records, and what every version of an envelope has in common.

An `Envelope` is its own shape. A `Record` is not: its value is JSON that stands in it
as it is, and its error escapes what no store can keep. Rule of this module: shapes
only. `codec` turns them into values, and nobody else sees them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from stem_core.model.outcome import State

__all__ = ["AnyVersion", "WireError", "WireRecord", "WireSeal"]


class AnyVersion(msgspec.Struct, gc=False):
    """As much of an envelope as every version will have."""

    version: int


class WireError(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """One failure as it is written."""

    type: str
    message: str = ""
    traceback: str = ""
    attempt: int = 0
    at_ms: int = 0


class WireSeal(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A detached signature as it is written; its bytes are Base64."""

    alg: str
    key: str
    sig: bytes


class WireRecord(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """A record as it is written. The value is embedded as the JSON that it is."""

    version: int
    id: str
    state: State
    ttl_ms: int
    fence: int = 0
    attempt: int = 0
    task: str = ""
    queue: str = ""
    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: WireError | None = None
    reason: str = ""
    meta: dict[str, Any] = {}
    enqueued_at_ms: int = 0
    started_at_ms: int = 0
    finished_at_ms: int = 0
    worker: str = ""
    seal: WireSeal | None = None
