"""The envelope: one invocation of a task, as a frozen value.

Rule of this module: what was asked, and nothing that changes afterwards. Attempt,
lease and fence belong to the broker and never enter an envelope.
"""

from __future__ import annotations

import re
from typing import Any, Final

from attrs import field, frozen

from stem_core.model.errors import EnqueueError, InvalidName, InvalidOption, NotEncodable
from stem_core.model.ids import check_id, check_name

__all__ = ["MAX_INSTANT_MS", "WIRE_VERSION", "Envelope", "check_envelope"]

WIRE_VERSION: Final = 1
"""The version that this release writes, and the newest that it reads."""

MAX_INSTANT_MS: Final = 253_402_300_799_999
"""The last millisecond of the year 9999, where datetimes end."""

_is_header: Final = re.compile(r"[!-~]{1,128}").fullmatch


@frozen(slots=False, kw_only=True)
class Envelope:
    """One invocation of a task. Immutable for its whole life; the signature covers it all.

    Attributes:
        id: unique within the namespace.
        task: the task's name.
        namespace, queue: where it may be run. Compared with where it was found.
        args: the arguments by parameter name.
        headers: travel with it to the handler (tracing).
        meta: stored with every result entry (audit).
        enqueued_at_ms: by the producer's clock.
        not_before_ms: the absolute earliest start, if one was asked for.
        delay_ms: the relative earliest start, if one was asked for. For audit: the
            broker counts it from its own now.
        expires_at_ms: after this instant it is ended unrun; None for never.
        priority: 0 (last) to 9 (first).
        options: those that were given, as `TaskOptions.given` writes them.
        parent, root: the task that enqueued it, and the first of the whole line.
        continuations: sealed messages that the step which settles this one publishes.
        version: of the wire.
        key_id, issuer, schema, partition, content_type, compression, reference:
            reserved; no release writes them yet.
    """

    id: str
    task: str
    namespace: str
    queue: str
    enqueued_at_ms: int
    args: dict[str, Any] = field(factory=dict)
    headers: dict[str, str] = field(factory=dict)
    meta: dict[str, Any] = field(factory=dict)
    not_before_ms: int | None = None
    delay_ms: int | None = None
    expires_at_ms: int | None = None
    priority: int = 0
    options: dict[str, Any] = field(factory=dict)
    parent: str | None = None
    root: str | None = None
    continuations: tuple[dict[str, Any], ...] = ()
    version: int = WIRE_VERSION
    key_id: str | None = None
    issuer: str | None = None
    schema: str | None = None
    partition: str | None = None
    content_type: str | None = None
    compression: str | None = None
    reference: str | None = None


def check_envelope(envelope: Envelope) -> None:
    """Return if names, headers and numbers are such that every store can keep them.

    Both sides of the wire ask this. `args`, `meta`, `options` and `continuations`
    are the codec's business.

    Raises:
        InvalidName, InvalidOption, NotEncodable: all `EnqueueError`; name the field.
    """
    check_id(envelope.id)
    check_name(envelope.task, kind="task")
    check_name(envelope.namespace, kind="namespace")
    check_name(envelope.queue, kind="queue")
    if envelope.parent is not None:
        check_id(envelope.parent)
    if envelope.root is not None:
        check_id(envelope.root)
    if envelope.headers:
        _check_headers(envelope.headers)
    if fault := _fault_of_numbers(envelope):
        raise fault


def _check_headers(headers: dict[str, str]) -> None:
    for name, value in headers.items():
        if type(name) is not str or not _is_header(name):
            raise InvalidName(
                f"header {name!a:.80} has no usable name",
                way_out="Use 1 to 128 visible ASCII characters, without spaces.",
            )
        if type(value) is not str:
            raise NotEncodable(
                f"headers.{name}: a header is text, got {type(value).__name__}",
                way_out="Convert it with str(…), or put it into meta=.",
            )


def _fault_of_numbers(envelope: Envelope) -> EnqueueError | None:
    if envelope.version != WIRE_VERSION or type(envelope.version) is not int:
        return InvalidOption(f"version={envelope.version!r}: this release writes {WIRE_VERSION}")
    if type(envelope.priority) is not int or not 0 <= envelope.priority <= 9:
        return InvalidOption(f"priority={envelope.priority!r:.60} is not a whole number 0 to 9")
    if not _is_instant(envelope.enqueued_at_ms):
        return _not_an_instant("enqueued_at_ms", envelope.enqueued_at_ms)
    for name in ("not_before_ms", "delay_ms", "expires_at_ms"):
        value = getattr(envelope, name)
        if value is not None and not _is_instant(value):
            return _not_an_instant(name, value)
    if envelope.not_before_ms is not None and envelope.delay_ms is not None:
        return InvalidOption("delay together with not_before", way_out="Give one of them.")
    return None


def _is_instant(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_INSTANT_MS


def _not_an_instant(name: str, value: object) -> InvalidOption:
    return InvalidOption(
        f"{name}={value!r:.60} is not a whole number of milliseconds before the year 10000"
    )
