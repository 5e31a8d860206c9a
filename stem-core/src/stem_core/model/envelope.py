"""The envelope: one invocation of a task, as a frozen value.

Rule of this module: what was asked, and nothing that changes afterwards. Attempt,
lease and fence belong to the broker and never enter an envelope.
"""

from __future__ import annotations

import re
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, TypeAlias

from attrs import field, frozen

from stem_core.model.errors import InvalidName, InvalidOption, NotEncodable
from stem_core.model.ids import check_id, check_name
from stem_core.model.option_values import shown

__all__ = [
    "FIELDS",
    "MAX_INSTANT_MS",
    "RESERVED",
    "WIRE_VERSION",
    "Envelope",
    "Fields",
    "check_envelope",
    "check_fields",
    "fields_in",
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

FIELDS: Final = (
    "version",
    "id",
    "task",
    "namespace",
    "queue",
    "enqueued_at_ms",
    "args",
    "headers",
    "meta",
    "not_before_ms",
    "delay_ms",
    "expires_at_ms",
    "priority",
    "options",
    "parent",
    "root",
    "continuations",
)
"""The fields of an envelope in the order in which they are written; `reserved` stands apart."""

Fields: TypeAlias = tuple[Any, ...]
"""The values of `FIELDS`. Unpacking one tuple costs a tenth of reading as many attributes."""

fields_in: Final = itemgetter(*FIELDS)
"""Return the `Fields` in the ``__dict__`` of an envelope."""

# Most ids have no dot, and then one look is enough: what passes here passes `check_id`.
_is_plain_id: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,127}").fullmatch
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
        reserved: texts under the names of `RESERVED`, which a later release will
            give a meaning; nobody fills it yet.
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
    reserved: dict[str, str] = field(factory=dict)


def check_envelope(envelope: Envelope) -> None:
    """Return if names, headers and numbers are such that every store can keep them.

    Both sides of the wire ask this. `args`, `meta`, `options` and `continuations`
    are the codec's business.

    Raises:
        InvalidName, InvalidOption, NotEncodable: all `EnqueueError`; name the field.
    """
    check_fields(fields_in(envelope.__dict__), envelope.reserved)


def check_fields(fields: Fields, reserved: dict[str, str]) -> None:
    """Do what `check_envelope` promises, for the fields of an envelope that may not exist yet."""
    (
        version, task_id, task, namespace, queue, enqueued_at_ms, _, headers, _,
        not_before_ms, delay_ms, expires_at_ms, priority, _, parent, root, _,
    ) = fields  # fmt: skip
    if type(task_id) is not str or not _is_plain_id(task_id):
        check_id(task_id)
    try:
        _remember_address(task, namespace, queue)
    except TypeError:  # not hashable, so no text either: let the check say which
        _check_address(task, namespace, queue)
    if parent is not None:
        check_id(parent)
    if root is not None and root != task_id:
        check_id(root)
    if headers or type(headers) is not dict:
        _check_headers(headers)
    if reserved or type(reserved) is not dict:
        _check_reserved(reserved)
    if type(version) is not int or version != WIRE_VERSION:
        raise InvalidOption(f"version={shown(version)}: this release has {WIRE_VERSION}")
    if type(priority) is not int or not 0 <= priority <= 9:
        raise InvalidOption(f"priority={shown(priority)} is not a whole number 0 to 9")
    if type(enqueued_at_ms) is not int or not 0 <= enqueued_at_ms <= MAX_INSTANT_MS:
        raise _no_instant("enqueued_at_ms", enqueued_at_ms)
    if not_before_ms is not None or delay_ms is not None or expires_at_ms is not None:
        _check_times(not_before_ms, delay_ms, expires_at_ms)


def _check_address(task: str, namespace: str, queue: str) -> None:
    check_name(task, kind="task")
    check_name(namespace, kind="namespace")
    check_name(queue, kind="queue")


# Few addresses are in use at a time: all but the first check cost one lookup.
_remember_address: Final = lru_cache(maxsize=1024)(_check_address)


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


def _check_reserved(reserved: dict[str, str]) -> None:
    if type(reserved) is not dict:
        raise NotEncodable(f"reserved: a dict is needed, got {type(reserved).__name__}")
    for name, value in reserved.items():
        if name not in RESERVED or type(value) is not str:
            raise NotEncodable(
                f"reserved: {name!a:.60} is not one of the reserved texts {', '.join(RESERVED)}"
            )


def _check_times(not_before_ms: object, delay_ms: object, expires_at_ms: object) -> None:
    times = (
        ("expires_at_ms", expires_at_ms),
        ("not_before_ms", not_before_ms),
        ("delay_ms", delay_ms),
    )
    for name, value in times:
        if value is not None and (type(value) is not int or not 0 <= value <= MAX_INSTANT_MS):
            raise _no_instant(name, value)
    if delay_ms is not None and not_before_ms is not None:
        raise InvalidOption("delay together with not_before", way_out="Give one of them.")


def _no_instant(name: str, value: object) -> InvalidOption:
    return InvalidOption(
        f"{name}={shown(value)} is not a whole number of milliseconds before the year 10000"
    )
