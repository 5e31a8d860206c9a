"""What a broker or a backend claims, and whether a test is about a claim.

Rule of this module: pure decisions. A capability may leave a test out, never soften it.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from difflib import get_close_matches
from typing import Final

from stem_core.contracts.backend import ResultBackend
from stem_core.contracts.broker import Broker, TransactionalBroker
from stem_core.contracts.capabilities import BackendCapabilities, Capabilities, Support
from stem_core.model.urls import StemURL
from stem_core.testing.contract.stage import Stage

__all__ = ["LEVELS", "LEVEL_NEEDS", "WIRE", "absent", "declared", "disagreement", "lacking"]

LEVELS: Final = ("core", "lease", "delay", "priority", "dedupe", "transactional", "chaos")
"""The steps of proof, in order. `chaos` kills real processes."""

LEVEL_NEEDS: Final = {
    "delay": "delay",
    "priority": "priority",
    "dedupe": "dedupe",
    "transactional": "transactional",
    "chaos": "multiprocess",
}
"""Levels that are a capability."""

_COMPANION: Final = {
    "dead_letters": "admin",
    "pause": "admin",
    "broadcast": "control",
    "limits": "limits",
}
"""Capabilities that are used through a companion of the broker, and which one."""

_HOOKS: Final = {
    "address": "a URL: a second process cannot be given a factory",
    "cut": "`cut` on the Stage, or a URL with one host and its port",
    "full": "`full` on the Stage",
    "leftovers": "`leftovers` on the Stage",
    "network": "`network` on the Stage, or a URL with one host and its port",
    "read_only": "`read_only` on the Stage",
    "transaction": "a method `transaction` of the test class",
    "transaction_sync": "a method `transaction_sync` of the test class",
}
"""What an author may add, for promises that cannot be seen from outside."""

WIRE: Final = frozenset({"cut", "network"})
"""Hooks that spoil the network between a broker and its store."""


def declared(capabilities: Capabilities | BackendCapabilities) -> frozenset[str]:
    """Return the names of what is there, natively or by emulation."""
    fields = type(capabilities).__struct_fields__
    return frozenset(
        name for name in fields if getattr(capabilities, name) and _is_optional(capabilities, name)
    )


def _is_optional(capabilities: Capabilities | BackendCapabilities, name: str) -> bool:
    return isinstance(getattr(capabilities, name), Support)


def absent(
    case: object, stage: Stage, subject: Broker | ResultBackend, needs: Iterable[str]
) -> str:
    """Say why a test of *subject* that *needs* so much is left out; empty when it is not."""
    hooks = [need for need in needs if need in _HOOKS]
    for need in sorted(set(needs).difference(hooks)):
        if not _has(stage, subject, need):
            return f"not claimed: {need}"
    if WIRE.intersection(hooks) and _is_without_wire(stage):
        return "not claimed: it is reached over no network"
    for hook in sorted(hooks):
        if getattr(stage, hook, None) is None and getattr(case, hook, None) is None:
            return f"not run: it needs {_HOOKS[hook]}"
    return ""


def _is_without_wire(stage: Stage) -> bool:
    """Say whether a URL leads to the store, and to no host."""
    return stage.address is not None and not StemURL.parse(stage.address.broker).hosts


def _has(stage: Stage, subject: Broker | ResultBackend, need: str) -> bool:
    if need == "atomic_results":
        return stage.is_atomic
    if hasattr(subject.capabilities, need):
        return bool(getattr(subject.capabilities, need))
    return getattr(subject, need) is not None


def lacking(subject: Broker | ResultBackend, needs: Iterable[str]) -> str:
    """Say what a declared capability of *subject* cannot do without; empty when all is there."""
    name = type(subject).__name__
    for need in sorted(needs):
        companion = _COMPANION.get(need)
        if companion and getattr(subject, companion, None) is None:
            return (
                f"{name} declares {need}, and its `{companion}` is None: "
                f"offer one, or declare {need}=Support.ABSENT"
            )
        if need == "transactional" and not isinstance(subject, TransactionalBroker):
            return (
                f"{name} declares transactional, and is no TransactionalBroker: "
                "derive it from that class, or declare transactional=Support.ABSENT"
            )
    return ""


def disagreement(
    claims: Set[str], capabilities: Capabilities | BackendCapabilities, subject: str
) -> str:
    """Say how the *claims* of a test class differ from *capabilities*; empty when they agree."""
    known = [f for f in type(capabilities).__struct_fields__ if _is_optional(capabilities, f)]
    for claim in sorted(claims):
        if claim not in known:
            close = get_close_matches(claim, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
            return f"`claims` names {claim!r}, which is no capability: {hint}"
    has = declared(capabilities)
    if missing := sorted(claims - has):
        return (
            f"`claims` names {', '.join(missing)}, which the capabilities of {subject} lack: "
            "declare it there, or take it out of `claims`"
        )
    if silent := sorted(has - claims):
        return (
            f"{subject} declares {', '.join(silent)}, which `claims` does not name: "
            "add it there, or leave `claims` out to prove what is declared"
        )
    return ""
