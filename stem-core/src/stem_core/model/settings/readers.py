"""Readers of the settings whose texts have a form of their own.

Rule of this module: a reader is a function of the text and its variable, and
repeats nothing of a text that can hold a secret.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any, Final, Literal, TypeAlias, TypeVar, get_args

from stem_core.model.errors import InvalidName
from stem_core.model.ids import check_name
from stem_core.model.secrets import Secret
from stem_core.model.structure import expected_one_of
from stem_core.model.urls import StemURL

__all__ = [
    "LogLevel",
    "read_key_id",
    "read_log_level",
    "read_namespace",
    "read_preferences",
    "read_public_keys",
    "read_queue",
    "read_queues",
    "read_routes",
    "read_secret_keys",
    "read_url",
]

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error", "critical"]

T = TypeVar("T")

_WEIGHT: Final = re.compile(r"0*[1-9][0-9]{0,8}")
_PATTERN: Final = re.compile(r"[A-Za-z0-9_*][A-Za-z0-9._*-]{0,127}")


def read_url(text: str, variable: str) -> StemURL:
    """Return the URL; its own error already names *variable*."""
    return StemURL.parse(text, source=variable)


def read_namespace(text: str, _: str) -> str:
    """Return the name of a namespace."""
    return check_name(text, kind="namespace")


def read_queue(text: str, _: str) -> str:
    """Return the name of a queue."""
    return check_name(text, kind="queue")


def read_key_id(text: str, _: str) -> str:
    """Return the id of a signing key; an error hides it, for it may be the key itself."""
    try:
        return check_name(text, kind="key id")
    except InvalidName:
        raise ValueError("expected the id of a key: letters, digits, '_', '-', '.'") from None


def read_queues(text: str, variable: str) -> dict[str, int]:
    """Return weights by queue, 1 where none is given: ``billing:8,default``."""
    return _without_doubles(_weight(piece, variable) for piece in text.split(","))


def _weight(text: str, variable: str) -> tuple[str, int]:
    name, colon, weight = text.strip().partition(":")
    if colon and not _WEIGHT.fullmatch(weight):
        raise ValueError("expected queues, such as default or billing:8")
    return read_queue(name, variable), int(weight or 1)


def read_log_level(text: str, _: str) -> str:
    """Return a log level, given in any case."""
    if text.lower() not in get_args(LogLevel):
        raise ValueError(expected_one_of(text.lower(), get_args(LogLevel)))
    return text.lower()


def read_routes(text: str, variable: str) -> dict[str, str]:
    """Return queues by pattern of task names, from a JSON object or ``billing.*=billing``."""
    routes: dict[str, str] = {}
    for pattern, queue in _json_pairs(text) if text.startswith("{") else _pairs(text):
        if not isinstance(pattern, str) or not _PATTERN.fullmatch(pattern):
            raise ValueError("expected patterns of task names, such as billing.*")
        if pattern in routes:
            raise ValueError(f"the pattern {pattern} is given twice")
        routes[pattern] = read_queue(queue, variable)
    return routes


def read_preferences(text: str, _: str) -> dict[str, str]:
    """Return distributions by URL scheme: ``redis=stem-redis``."""
    return _without_doubles(_pairs(text))


def read_secret_keys(text: str, variable: str) -> dict[str, Secret[bytes]]:
    """Return secret keys by id: ``k1:BASE64,k2:BASE64``."""
    return {name: Secret(key) for name, key in read_public_keys(text, variable).items()}


def read_public_keys(text: str, variable: str) -> dict[str, bytes]:
    """Return keys by id. The base64 is standard, padded and canonical."""
    keys: dict[str, bytes] = {}
    for place, piece in enumerate(text.split(","), start=1):
        try:
            name, key = _key(piece.strip(), variable)
        except ValueError as error:
            # By place: what stands before the colon may be the key.
            raise ValueError(f"entry {place}: {error}") from None
        if name in keys:
            raise ValueError(f"entry {place}: its id was there before")
        keys[name] = key
    return keys


def _key(entry: str, variable: str) -> tuple[str, bytes]:
    name, colon, encoded = entry.partition(":")
    if not colon:
        raise ValueError("expected id:base64, and there is no colon")
    read_key_id(name, variable)
    try:
        key = base64.b64decode(encoded, validate=True)
    except ValueError:
        raise ValueError("the key is not base64") from None
    # Two spellings of one key would make two fingerprints of it.
    if base64.b64encode(key).decode() != encoded:
        raise ValueError("the key is not canonical base64")
    if not key:
        raise ValueError("the key is empty")
    return name, key


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for piece in text.split(","):
        name, equals, value = (part.strip() for part in piece.partition("="))
        if not (name and equals and value):
            raise ValueError("expected pairs separated by commas: name=value,name=value")
        yield name, value


def _json_pairs(text: str) -> list[tuple[Any, Any]]:
    try:
        pairs: list[tuple[Any, Any]] = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        raise ValueError("expected a JSON object of texts") from None
    if not all(isinstance(value, str) for _, value in pairs):
        raise ValueError("expected a JSON object of texts")
    return pairs


def _without_doubles(pairs: Iterator[tuple[str, T]]) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name} is given twice")
        found[name] = value
    return found
