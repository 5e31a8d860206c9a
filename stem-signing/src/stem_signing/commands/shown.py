"""A key as people and programs may see it. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from stem_signing.keyring import Entry

__all__ = ["COLUMNS", "facts_of", "row_of"]

COLUMNS: Final = ("key", "algorithm", "kind", "state", "fingerprint", "valid", "for")


def facts_of(entry: Entry, now_ms: int) -> dict[str, Any]:
    """Return what a program may know of *entry*."""
    why = entry.why_not(now_ms)
    return {
        "id": entry.id,
        "algorithm": entry.key.algorithm,
        "kind": entry.key.kind,
        "state": entry.state.value,
        "fingerprint": entry.key.fingerprint,
        "valid_from_ms": entry.valid_from_ms or None,
        "valid_until_ms": entry.valid_until_ms or None,
        "queues": list(entry.queues),
        "tasks": list(entry.tasks),
        "verifies": why is None,
        "why_not": "" if why is None else why.value,
    }


def row_of(entry: Entry, now_ms: int) -> tuple[str, ...]:
    """Return what people see of *entry*, in the order of `COLUMNS`."""
    return (
        entry.id,
        entry.key.algorithm,
        entry.key.kind,
        entry.state.value,
        entry.key.fingerprint,
        _validity(entry, now_ms),
        _scope(entry),
    )


def _validity(entry: Entry, now_ms: int) -> str:
    limits = [
        f"{word} {datetime.fromtimestamp(instant / 1000, UTC):%Y-%m-%dT%H:%MZ}"
        for word, instant in (("from", entry.valid_from_ms), ("until", entry.valid_until_ms))
        if instant
    ]
    why = entry.why_not(now_ms)
    return " ".join([*limits, *([f"({why.value})"] if why and limits else [])]) or "always"


def _scope(entry: Entry) -> str:
    named = [
        f"{what} {', '.join(names)}"
        for what, names in (("queues", entry.queues), ("tasks", entry.tasks))
        if names
    ]
    return "; ".join(named) or "everything"
