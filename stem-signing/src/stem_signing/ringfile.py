"""The key file: a keyring as TOML, read strictly and written whole.

    active = "2025-06"

    [keys.2025-06]
    private = "BASE64"                     # or public, or secret: it decides the algorithm

    [keys.2025-05]
    public = "BASE64"
    state = "revoked"                      # or verify-only, which a key is that is not active
    valid_until = 2026-01-01T00:00:00Z
    queues = ["billing"]                   # all that it may vouch for
    tasks = ["billing.*"]

Rule of this module: text in, values out, and back. It names the key and the field of what
is wrong, and repeats no value, for any of them may be a key.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, cast, get_args

from attrs import frozen

from stem_core.plugin import StemError, check_name
from stem_signing.encoding import decoded, encoded
from stem_signing.keyring import Entry, State, check_pattern
from stem_signing.keys import Kind, key_of

__all__ = ["RingFile", "read_ring", "written"]

_KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_FIELDS: Final = frozenset({*_KINDS, "state", "valid_from", "valid_until", "queues", "tasks"})
_STATES: Final = {"verify-only": State.VERIFY_ONLY, "revoked": State.REVOKED}


@frozen
class RingFile:
    """What a key file says: its keys, and which of them signs (empty when it does not say)."""

    entries: tuple[Entry, ...]
    active: str = ""


def read_ring(text: str) -> RingFile:
    """Return what *text* says.

    Raises:
        ValueError: it is no TOML, has a field that does not belong there, or a key that
            cannot be used; in one sentence that repeats no value.
    """
    try:
        found = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        raise ValueError(f"it is not TOML{_place(text)}") from None
    strange = sorted(found.keys() - {"active", "keys"})
    if strange:
        raise ValueError("it has more than `active` and `[keys.…]` at its top")
    keys = found.get("keys", {})
    if not isinstance(keys, dict):
        raise ValueError("keys: expected one table for each key, such as [keys.2025-06]")
    active = found.get("active", "")
    if not isinstance(active, str):
        raise ValueError("active: expected the id of a key, in quotes")
    return RingFile(tuple(_entry(id, table) for id, table in keys.items()), active)


def _place(text: str) -> str:
    """Return the first line that does not parse, by its number: the parser's own words may
    repeat a piece of a key."""
    lines = text.splitlines()
    for count in range(1, len(lines) + 1):
        try:
            tomllib.loads("\n".join(lines[:count]))
        except (tomllib.TOMLDecodeError, RecursionError):
            return f", from line {count} on"
    return ""


def _entry(id: str, table: Any) -> Entry:
    try:
        check_name(id, kind="key id")
    except StemError:
        raise ValueError("the id of a key may have letters, digits, '_', '-' and '.'") from None
    try:
        return _checked(id, table)
    except ValueError as error:
        raise ValueError(f"keys.{id}: {error}") from None


def _checked(id: str, table: Any) -> Entry:
    if not isinstance(table, dict):
        raise ValueError("expected a table")
    if not table.keys() <= _FIELDS:
        raise ValueError(f"it has another field than {', '.join(sorted(_FIELDS))}")
    kinds: list[Kind] = [kind for kind in _KINDS if kind in table]
    if len(kinds) != 1:
        raise ValueError("expected exactly one of secret, private, public")
    state = table.get("state", "verify-only")
    if not isinstance(state, str) or state not in _STATES:
        raise ValueError('state: expected "verify-only" or "revoked"')
    return Entry(
        id=id,
        key=key_of(kinds[0], decoded(_text(table, kinds[0]))),
        state=_STATES[state],
        valid_from_ms=_instant(table, "valid_from"),
        valid_until_ms=_instant(table, "valid_until"),
        queues=tuple(check_queue(each) for each in _texts(table, "queues")),
        tasks=tuple(check_pattern(each) for each in _texts(table, "tasks")),
    )


def check_queue(text: str) -> str:
    """Return the name of a queue, or raise ValueError."""
    try:
        return check_name(text, kind="queue")
    except StemError:
        raise ValueError("queues: expected names of queues") from None


def _text(table: Mapping[str, Any], name: str) -> str:
    if not isinstance(table[name], str):
        raise ValueError(f"{name}: expected base64 in quotes")
    return cast(str, table[name])


def _texts(table: Mapping[str, Any], name: str) -> list[str]:
    found = table.get(name, [])
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ValueError(f"{name}: expected a list of texts")
    if name in table and not found:
        raise ValueError(f"{name}: an empty list would allow nothing; leave it out to allow all")
    return found


def _instant(table: Mapping[str, Any], name: str) -> int:
    if name not in table:
        return 0
    found = table[name]
    if not isinstance(found, datetime) or found.tzinfo is None:
        raise ValueError(f"{name}: expected an instant with a time zone: 2026-01-01T00:00:00Z")
    return int(found.timestamp() * 1000)


# ── writing ──────────────────────────────────────────────────────────────────


def written(file: RingFile) -> str:
    """Return the text of a key file. Comments of an earlier text are not kept."""
    lines = ["# Written by `stem keys`."]
    if any(each.key.kind != "public" for each in file.entries):
        lines = ["# Written by `stem keys`. It holds secrets: only its owner should read it."]
    if file.active:
        lines.append(f"active = {json.dumps(file.active)}")
    for entry in file.entries:
        lines += ["", *_lines(entry)]
    return "\n".join(lines) + "\n"


def _lines(entry: Entry) -> Iterator[str]:
    yield f"[keys.{json.dumps(entry.id)}]"
    yield f'{entry.key.kind} = "{encoded(entry.key.reveal())}"'
    if entry.state is State.REVOKED:
        yield 'state = "revoked"'
    for name, instant in (
        ("valid_from", entry.valid_from_ms),
        ("valid_until", entry.valid_until_ms),
    ):
        if instant:
            yield f"{name} = {datetime.fromtimestamp(instant / 1000, UTC).isoformat()}"
    for name, texts in (("queues", entry.queues), ("tasks", entry.tasks)):
        if texts:
            yield f"{name} = {json.dumps(texts)}"
