"""The page of errors: the tree, when each is raised, and what the program ends with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from stem_core.cli.exits import exit_code_of
from stem_core.model import errors
from stem_core.model.errors import Fault, SoftTimeLimitExceeded, StemError, StoreError, TaskSignal
from stem_docs.tables import attributes, paragraphs, remarks, sentence, table

__all__ = ["errors_page"]

_HEAD: Final = """\
# Errors

<!-- Generated from the error classes; a test compares. -->

Everything that Stem raises is a `StemError`, and stands in one tree: catch the family that you
can act on. Each has a stable `code` for programs, a `message` that names the thing and its value
and never a secret, and usually a `way_out`, which says what to do about it. All names are
imported from `stem_core`.

The last column is the [exit code](cli.md#exit-codes) with which the `stem` program ends because
of it.

## The tree
"""
_SIGNALS: Final = """\
## What a task raises to say how it ends

These are outcomes, not errors, and no `StemError`: a worker acts on them, and no caller sees one.
"""
_FAULTS: Final = """\
## What failed at a store

Every `StoreError` says in its `fault` what kind of failure it was. Stem acts on it by itself;
it is there for logs, and for authors of plugins.
"""


def errors_page() -> str:
    """Return ``docs/reference/errors.md``."""
    parts = [_HEAD, _tree(), *_families(), _SIGNALS, _signals(), _FAULTS, _faults()]
    return "\n".join(parts)


def _tree() -> str:
    return "\n".join(["```text", "StemError", *_branches(StemError, ""), "```", ""])


def _branches(parent: type[StemError], indent: str) -> Iterator[str]:
    children = _children(parent)
    for child in children:
        last = child is children[-1]
        yield f"{indent}{'└── ' if last else '├── '}{child.__name__}"
        yield from _branches(child, indent + ("    " if last else "│   "))


def _children(parent: type[StemError]) -> list[type[StemError]]:
    """Return the errors right below *parent*, in the order of their module."""
    return [each for each in vars(errors).values() if parent in getattr(each, "__bases__", ())]


def _families() -> Iterator[str]:
    families: list[type[StemError]] = [StemError, *_children(StemError)]
    for family in families:
        members = [] if family is StemError else _children(family)
        more = attributes(family)
        yield f"## {family.__name__}\n\n{paragraphs(family)}\n"
        yield from (f"- `{name}`: {words}" for name, words in more.items())
        if more:
            yield ""
        rows = [_row(error) for error in [family, *members]]
        yield table(("error", "code", "when", "exit"), rows) + "\n"


def _row(error: type[StemError]) -> tuple[str, str, str, str]:
    exit_code = str(exit_code_of(error("")).value)
    return f"`{error.__name__}`", f"`{error.code}`", sentence(error), exit_code


def _signals() -> str:
    found = [each for each in vars(errors).values() if TaskSignal in getattr(each, "__bases__", ())]
    rows = [(f"`{each.__name__}`", sentence(each)) for each in (*found, SoftTimeLimitExceeded)]
    return table(("raised", "meaning"), rows) + "\n"


def _faults() -> str:
    of_stores = [each for each in vars(errors).values() if _is_store_error(each)]
    kinds = {each.default_fault: each.__name__ for each in of_stores}
    said = remarks(Fault)
    rows = [
        (f"`{fault.value}`", said[fault.name], f"`{kinds[fault]}`" if fault in kinds else "–")
        for fault in Fault
    ]
    return table(("fault", "meaning", "of which error, unless it says another"), rows) + "\n"


def _is_store_error(each: object) -> bool:
    return isinstance(each, type) and issubclass(each, StoreError)
