"""The envelope: one invocation of a task, as a frozen value.

Rule of this module: what was asked, and nothing that changes afterwards. Attempt,
lease and fence belong to the broker and never enter an envelope.
"""

from __future__ import annotations

import re
from typing import Any, Final

from msgspec import field

from stem_core.model.errors import InvalidName, InvalidOption, NotEncodable
from stem_core.model.ids import check_id, check_name
from stem_core.model.option_values import shown
from stem_core.model.value import Value

__all__ = [
    "MAX_INSTANT_MS",
    "RESERVED",
    "WIRE_VERSION",
    "Envelope",
    "check_envelope",
]

WIRE_VERSION: Final = 1
"""The version that this release writes, and the newest that it reads."""

MAX_INSTANT_MS: Final = 253_402_300_799_999
"""The last millisecond of the year 9999, where datetimes end."""

RESERVED: Final = (
    "key_id",
    "issuer",
    "schema",
    "partition",
    "content_type",
    "compression",
    "reference",
)
"""Names that version 1 of the wire keeps free."""

# Most ids have no dot, and then one look is enough: what passes here passes `check_id`.
_is_plain_id: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,127}").fullmatch
_is_header: Final = re.compile(r"[!-~]{1,128}").fullmatch


class Envelope(
    Value, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One invocation of a task. Immutable for its whole life; the signature covers it all.

    The fields stand in the order in which they are written. Changed copies are made by
    `stem_core.plugin.replace`.

    Attributes:
        version: of the wire.
        id: unique within the namespace.
        task: the task's name.
        namespace, queue: where it may be run. Compared with where it was found.
        enqueued_at_ms: by the producer's clock.
        args: the arguments by parameter name.
        headers: travel with it to the handler (tracing).
        meta: stored with every result entry (audit).
        not_before_ms: the absolute earliest start, if one was asked for.
        delay_ms: the relative earliest start, if one was asked for. For audit: the
            broker counts it from its own now.
        expires_at_ms: after this instant it is ended unrun; None for never.
        priority: 0 (last) to 9 (first).
        options: those that were given, as `TaskOptions.given` writes them.
        parent, root: the task that enqueued it, and the first of the whole line.
        continuations: sealed messages that the step which settles this one publishes.
        key_id, issuer, schema, partition, content_type, compression, reference: kept
            free; a later release will give them a meaning, and nobody fills them yet.
    """

    # Made, not given: what is left out on the wire is what is identical to a default.
    version: int = field(default_factory=WIRE_VERSION.__pos__)
    id: str
    task: str
    namespace: str
    queue: str
    enqueued_at_ms: int
    args: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    not_before_ms: int | None = None
    delay_ms: int | None = None
    expires_at_ms: int | None = None
    priority: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    parent: str | None = None
    root: str | None = None
    continuations: tuple[dict[str, Any], ...] = ()
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
    task_id, root = envelope.id, envelope.root
    if type(task_id) is not str or not _is_plain_id(task_id):
        check_id(task_id)
    address = (envelope.task, envelope.namespace, envelope.queue)
    try:
        is_known = address in _known_addresses
    except TypeError:  # not hashable, so no text either: let the check say which
        is_known = False
    if not is_known:
        _check_address(address)
    if envelope.parent is not None:
        check_id(envelope.parent)
    if root is not None and root != task_id:
        check_id(root)
    headers, priority, enqueued_at_ms = envelope.headers, envelope.priority, envelope.enqueued_at_ms
    if headers or type(headers) is not dict:
        _check_headers(headers)
    version = envelope.version
    if type(version) is not int or version != WIRE_VERSION:
        raise InvalidOption(f"version={shown(version)}: this release has {WIRE_VERSION}")
    if type(priority) is not int or not 0 <= priority <= 9:
        raise InvalidOption(f"priority={shown(priority)} is not a whole number 0 to 9")
    if type(enqueued_at_ms) is not int or not 0 <= enqueued_at_ms <= MAX_INSTANT_MS:
        raise _no_instant("enqueued_at_ms", enqueued_at_ms)
    if not (envelope.not_before_ms is envelope.delay_ms is envelope.expires_at_ms is None):
        _check_times(envelope)
    if not (
        envelope.key_id is envelope.issuer is envelope.schema is envelope.partition
        is envelope.content_type is envelope.compression is envelope.reference is None
    ):  # fmt: skip
        _check_reserved(envelope)


# Few addresses are in use at a time: all but the first check cost one lookup.
_known_addresses: Final[set[tuple[str, str, str]]] = set()
_MOST_ADDRESSES: Final = 1024


def _check_address(address: tuple[str, str, str]) -> None:
    for kind, name in zip(("task", "namespace", "queue"), address, strict=True):
        check_name(name, kind=kind)
    if len(_known_addresses) >= _MOST_ADDRESSES:  # names may come from strangers
        _known_addresses.clear()
    _known_addresses.add(address)


def _check_headers(headers: dict[str, str]) -> None:
    if type(headers) is not dict:
        raise NotEncodable(f"headers: a dict is needed, got {type(headers).__name__}")
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


def _check_reserved(envelope: Envelope) -> None:
    for name in RESERVED:
        value = getattr(envelope, name)
        if value is not None and type(value) is not str:
            raise NotEncodable(f"{name}: a text is needed, got {type(value).__name__}")


def _check_times(envelope: Envelope) -> None:
    for name in ("expires_at_ms", "not_before_ms", "delay_ms"):
        value = getattr(envelope, name)
        if value is not None and (type(value) is not int or not 0 <= value <= MAX_INSTANT_MS):
            raise _no_instant(name, value)
    if envelope.delay_ms is not None and envelope.not_before_ms is not None:
        raise InvalidOption("delay together with not_before", way_out="Give one of them.")


def _no_instant(name: str, value: object) -> InvalidOption:
    return InvalidOption(
        f"{name}={shown(value)} is not a whole number of milliseconds before the year 10000"
    )
