"""The wire: names, order and defaults of all that is written, as msgspec structs.

Structs rather than the attrs classes themselves: only structs refuse unknown fields
and leave out defaults. Rule of this module: shapes only. `codec` turns them into
values, and nobody else sees them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from stem_core.model.outcome import State

__all__ = ["AnyVersion", "Wire", "WireError", "WireRecord", "WireWithReserved"]


class Wire(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """An envelope as it is written: names and order of `envelope.FIELDS`, defaults left out."""

    version: int
    id: str
    task: str
    namespace: str
    queue: str
    enqueued_at_ms: int
    args: dict[str, Any] = {}
    headers: dict[str, str] = {}
    meta: dict[str, Any] = {}
    not_before_ms: int | None = None
    delay_ms: int | None = None
    expires_at_ms: int | None = None
    priority: int = 0
    options: dict[str, Any] = {}
    parent: str | None = None
    root: str | None = None
    continuations: tuple[dict[str, Any], ...] = ()


class WireWithReserved(Wire, forbid_unknown_fields=True, omit_defaults=True):
    """The names that version 1 keeps free, in a type of their own: absent, they cost nothing."""

    key_id: str | None = None
    issuer: str | None = None
    schema: str | None = None
    partition: str | None = None
    content_type: str | None = None
    compression: str | None = None
    reference: str | None = None


class AnyVersion(msgspec.Struct):
    """As much of an envelope as every version will have."""

    version: int


class WireError(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One failure as it is written."""

    type: str
    message: str = ""
    traceback: str = ""
    attempt: int = 0
    at_ms: int = 0


class WireRecord(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
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
