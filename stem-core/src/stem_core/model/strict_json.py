"""Strict JSON: what may be written, and which bytes may be read. The whole strictness is here.

What msgspec would let pass (NaN as null, bytes as base64, sets as lists, the last of
two equal keys, any depth) is caught by an exact walk before encoding and by looks at
the bytes. Rule of this module: it knows values and bytes, never what they mean; nothing
in it recurses over what a stranger sent, and all of it is linear in the size.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from math import isfinite
from typing import Any, Final, TypeAlias

import msgspec

from stem_core.model.errors import NotEncodable, PayloadTooLarge

__all__ = [
    "JSON",
    "MAX_BODY",
    "MAX_DEPTH",
    "UNREADABLE",
    "check_json",
    "check_object",
    "duplicate_key",
    "fault_of_bytes",
    "too_large",
    "unwritable",
]

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | float | bool | None"
"""What strict JSON can carry."""

MAX_BODY: Final = 1_048_576
"""Default limit of an encoded envelope or result, in bytes."""

MAX_DEPTH: Final = 64
"""Most objects and lists inside each other; the outermost counts as one."""

UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""All that reading hostile bytes can raise: bad syntax, bad UTF-8, enormous integers, depth."""

_write: Final = msgspec.json.Encoder().encode


# ── the walk before encoding ─────────────────────────────────────────────────

_Trail: TypeAlias = "tuple[_Trail | None, str | int]"
"""A path, from its end: joined only when there is something to say about it."""

_Container: TypeAlias = dict[str, Any] | list[Any] | tuple[Any, ...]

_PLAIN: Final = frozenset({int, bool, type(None)})


def check_json(value: object, path: str, *, max_bytes: int = MAX_BODY, depth: int = 1) -> None:
    """Return if *value* is exactly what JSON can carry and give back equal.

    Exact types only: dict with str keys, list, str, int, finite float, bool, None.
    Never recurses, so no depth and no self-reference can hurt it, and stops as
    soon as the encoded value must be longer than *max_bytes*. *depth* is the level
    at which *value* will stand.

    Raises:
        NotEncodable: names the path, starting with *path*.
        PayloadTooLarge: the value cannot fit.
    """
    if type(value) is not dict and type(value) is not list:
        if not _is_leaf(value):
            raise _not_encodable((None, path), value)
        return
    size = 0  # never more than the encoded length: quotes, separators, one byte a character
    todo: list[tuple[Any, _Trail, int]] = [(value, (None, path), depth)]
    while todo:
        container, trail, level = todo.pop()
        size += 2 * len(container)
        if level > MAX_DEPTH:
            raise _too_deep(trail)
        if size > max_bytes:
            raise too_large(size, max_bytes, at_least=True)
        is_object = type(container) is dict
        for key, item in container.items() if is_object else enumerate(container):
            if is_object:
                if type(key) is not str:
                    raise _not_encodable(trail, key, as_key=True)
                size += len(key) + 3
            kind = type(item)
            if kind is str:
                size += len(item)
            elif kind is dict or kind is list:
                todo.append((item, (trail, key), level + 1))
            elif kind not in _PLAIN and not _is_leaf(item):
                raise _not_encodable((trail, key), item)
    if size > max_bytes:
        raise too_large(size, max_bytes, at_least=True)


def check_object(value: object, path: str, max_bytes: int, *, depth: int = 2) -> None:
    """Return if *value* is an object that `check_json` accepts. Twice as fast for plain ones.

    Raises:
        NotEncodable: names the path, starting with *path*.
        PayloadTooLarge: the value cannot fit.
    """
    if type(value) is not dict:
        raise NotEncodable(f"{path}: an object (dict) is needed, got {type(value).__name__}")
    size = 6 * len(value)
    for key, item in value.items():
        if type(key) is not str:
            break
        kind = type(item)
        if kind is str:
            size += len(key) + len(item)
        elif kind is int or kind is bool or item is None:
            size += len(key)
        else:
            break
    else:
        if size <= max_bytes:
            return
    check_json(value, path, max_bytes=max_bytes, depth=depth)


def _is_leaf(value: object) -> bool:
    kind = type(value)
    return kind is str or kind in _PLAIN or (type(value) is float and isfinite(value))


def _path(trail: _Trail) -> str:
    parts: list[str | int] = []
    rest: _Trail | None = trail
    while rest is not None:
        rest, part = rest
        parts.append(part)
    parts.reverse()
    text = "".join(f"[{part}]" if type(part) is int else f".{part:.60}" for part in parts)
    return ascii(text[1:])[1:-1]


_WAYS_OUT: Final[dict[str, str]] = {
    "tuple": "Make it a list.",
    "set": "Make it a list.",
    "frozenset": "Make it a list.",
    "bytes": "Send text: base64.b64encode(…).decode(), or the place where the data lies.",
    "bytearray": "Send text: base64.b64encode(…).decode(), or the place where the data lies.",
    "datetime": "Send value.isoformat(), or annotate the task's parameter with the type.",
    "date": "Send value.isoformat(), or annotate the task's parameter with the type.",
    "Decimal": "Send str(value), or annotate the task's parameter with the type.",
    "UUID": "Send str(value), or annotate the task's parameter with the type.",
    "float": "Send None or a text: JSON has no infinity and no NaN.",
}


def _not_encodable(trail: _Trail, value: object, *, as_key: bool = False) -> NotEncodable:
    name = type(value).__name__
    if as_key:
        return NotEncodable(
            f"{_path(trail)}: the key {value!r:.60} is of type {name}",
            way_out="Keys of a JSON object are text: write str(key).",
        )
    shown = f"the float {value!r}" if name == "float" else f"a value of type {name}"
    return NotEncodable(
        f"{_path(trail)}: JSON cannot carry {shown}",
        way_out=_WAYS_OUT.get(name, "Send dict, list, str, int, float, bool or None, exactly."),
    )


def _too_deep(trail: _Trail) -> NotEncodable:
    return NotEncodable(
        f"{_path(trail):.200}: nested deeper than {MAX_DEPTH} levels",
        way_out="Flatten it; a container that holds itself never ends.",
    )


def too_large(size: int, max_bytes: int, *, at_least: bool = False) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"{'at least ' * at_least}{size} bytes, and the limit is {max_bytes}",
        way_out="Send the place where the data lies instead of the data.",
    )


def unwritable(error: Exception, root: dict[str, Any]) -> NotEncodable:
    """Return *error* with the path of the text or integer in *root* that caused it."""
    for trail, leaf in _leaves(root, None):
        try:
            _write(leaf)
        except (TypeError, ValueError) as cause:
            return NotEncodable(
                f"{_path(trail)}: {cause}",
                way_out="Replace what is no character; send an enormous integer as text.",
            )
    return NotEncodable(str(error))


def _leaves(container: _Container, trail: _Trail | None) -> Iterator[tuple[_Trail, object]]:
    pairs: Iterable[tuple[str | int, Any]]
    pairs = container.items() if isinstance(container, dict) else enumerate(container)
    for key, item in pairs:
        here = (trail, key)
        yield here, key
        if isinstance(item, (dict, list, tuple)):
            yield from _leaves(item, here)
        else:
            yield here, item


# ── the looks before and after decoding ──────────────────────────────────────

# Linear on any input: nothing is tried twice, and a text without an end reaches to the end.
_strings: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_LIST: Final = ord("[")
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def fault_of_bytes(data: bytes, max_bytes: int | None) -> str | None:
    """Return why *data* is not even worth parsing, or None."""
    if max_bytes is not None and len(data) > max_bytes:
        return f"{len(data)} bytes, and the limit is {max_bytes}"
    # A search for a list costs a fifth of counting none.
    brackets = data.count(b"{") + (data.count(b"[") if _LIST in data else 0)
    if brackets > MAX_DEPTH and _is_too_deep(data):
        return f"nested deeper than {MAX_DEPTH} levels, or its brackets do not match"
    return None


def _is_too_deep(data: bytes) -> bool:
    brackets = _strings.sub(b"", data).translate(_ONE_KIND, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")  # takes away the innermost level, and only that
        if not brackets:
            return False
    return True


def duplicate_key(data: bytes) -> str | None:
    """Return a key that occurs twice in one object of *data*, which is valid JSON.

    Slow; only for bytes that differ from what we would have written.
    """
    found: list[str] = []

    def look(pairs: list[tuple[str, object]]) -> None:
        if len(dict(pairs)) < len(pairs):
            found.append(max(counts := Counter(key for key, _ in pairs), key=counts.__getitem__))

    json.loads(data.decode(), object_pairs_hook=look, parse_int=len, parse_float=len)
    return found[0] if found else None
