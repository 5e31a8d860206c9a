"""The marks of contract tests: which promises one is about, and on which level it stands.

Rule of this module: a mark turns an async method ``(self, stage)`` into a plain test, so
the kit needs no plugin for coroutines and minds none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from inspect import cleandoc
from pathlib import Path
from typing import Any, Final

from attrs import frozen

import stem_core.contracts
from stem_core.testing.contract.claims import LEVEL_NEEDS, LEVELS
from stem_core.testing.contract.staging import on_backend_stage, on_broker_stage, on_signer

__all__ = [
    "Terms",
    "backend_promise",
    "promise",
    "promises_of",
    "sentences",
    "signer_promise",
    "terms_of",
]

_CONTRACTS: Final = Path(stem_core.contracts.__path__[0])
_PROMISE: Final = re.compile(r"\[([A-Z]+-\d+)\]\s+(.*?)(?=\[[A-Z]+-\d+\]|\n\s*\n|\"\"\"|\Z)", re.S)


Mark = Callable[[Callable[..., Any]], Any]


@frozen
class Terms:
    """What a test is about.

    Attributes:
        ids: the promises that it proves.
        level: one of `LEVELS`.
        needs: capabilities and companions without which it is not claimed; those of the
            level are among them.
    """

    ids: tuple[str, ...]
    level: str
    needs: frozenset[str]


def promise(*ids: str, level: str = "core", needs: Iterable[str] = ()) -> Mark:
    """Mark an async method ``(self, stage)`` as a test of the promises *ids* of a broker."""
    terms = _terms(ids, level, needs)

    def wrap(test: Callable[..., Any]) -> Any:
        def run(self: Any, stem_broker: object) -> None:
            on_broker_stage(self, stem_broker, terms.needs, test)

        return _marked(run, test, terms)

    return wrap


def backend_promise(*ids: str, needs: Iterable[str] = ()) -> Mark:
    """Mark an async method ``(self, stage)`` as a test of the promises *ids* of a backend."""
    terms = _terms(ids, "core", needs)

    def wrap(test: Callable[..., Any]) -> Any:
        def run(self: Any, stem_backend: object) -> None:
            on_backend_stage(self, stem_backend, terms.needs, test)

        return _marked(run, test, terms)

    return wrap


def signer_promise(*ids: str, signs: bool = True) -> Mark:
    """Mark a method ``(self, signer)`` as a test of the promises *ids* of a signer.

    With *signs* it needs a signer that can sign, else one that can only verify.
    """
    terms = _terms(ids, "core", ())

    def wrap(test: Callable[..., Any]) -> Any:
        def run(self: Any, stem_signer: object, stem_verifier: object) -> None:
            on_signer(self, stem_signer, stem_verifier, signs, test)

        return _marked(run, test, terms)

    return wrap


def _terms(ids: tuple[str, ...], level: str, needs: Iterable[str]) -> Terms:
    assert level in LEVELS, f"{level!r} is none of {LEVELS}"
    own = (LEVEL_NEEDS[level],) if level in LEVEL_NEEDS else ()
    return Terms(ids, level, frozenset((*needs, *own)))


def _marked(run: Callable[..., None], test: Callable[..., Any], terms: Terms) -> Any:
    run.__name__ = test.__name__
    run.__qualname__ = test.__qualname__
    run.__doc__ = f"[{', '.join(terms.ids)}] {test.__doc__ or ''}".rstrip()
    run.terms = terms  # type: ignore[attr-defined]
    return run


def terms_of(test: object) -> Terms | None:
    """Return what *test* is about; None for one that is no test of a contract."""
    terms = getattr(test, "terms", None)
    return terms if isinstance(terms, Terms) else None


def promises_of(*contracts: type) -> frozenset[str]:
    """Return the ids that the tests of *contracts* cover."""
    tests = (getattr(kind, name) for kind in contracts for name in dir(kind))
    return frozenset(id for test in tests if (terms := terms_of(test)) for id in terms.ids)


def sentences(folder: Path = _CONTRACTS) -> Mapping[str, str]:
    """Return what the docstrings of the contracts in *folder* promise, by id."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.py")):
        for id, text in _PROMISE.findall(path.read_text("utf-8")):
            found[id] = " ".join(cleandoc(text).split())
    return found
