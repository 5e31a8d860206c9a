"""TypedDicts: objects with known keys, some of which may be absent.

Rule of this module: what is required is read from the resolved annotations. The
class's own list is wrong for NotRequired under ``from __future__ import annotations``.
"""

from __future__ import annotations

from typing import Any, NotRequired, Required, get_args, get_origin, get_type_hints

from stem_core.model.structure.checks import (
    Check,
    Mismatch,
    NoJsonForm,
    check_for,
    shown,
    unknown_field,
)

__all__ = ["typeddict_check"]


def typeddict_check(hint: Any) -> Check:
    """Return the check of a TypedDict; unknown keys are refused, absent ones stay absent."""
    required, hints = _keys(hint)

    def check(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise Mismatch(("", f"expected an object ({hint.__name__}), got {shown(value)}"))
        problems = [(f".{name}", "is missing") for name in hints if name in required - value.keys()]
        good: dict[str, Any] = {}
        for name, item in value.items():
            if name not in hints:
                problems.append(("", unknown_field(name, hints)))
                continue
            try:
                # Not looked up before the first value: the type may contain itself.
                good[name] = check_for(hints[name])(item)
            except Mismatch as error:
                problems += error.under(f".{name}")
            except NoJsonForm as error:
                problems.append((f".{name}", str(error)))
        if problems:
            raise Mismatch(*problems)
        return good

    return check


def _keys(kind: Any) -> tuple[frozenset[str], dict[str, Any]]:
    """Return the required keys, and the type of every key."""
    required = set(kind.__required_keys__)
    hints: dict[str, Any] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        origin = get_origin(hint)
        if origin is Required:
            required.add(name)
        elif origin is NotRequired:
            required.discard(name)
        hints[name] = get_args(hint)[0] if origin in (Required, NotRequired) else hint
    return frozenset(required), hints
