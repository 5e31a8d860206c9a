"""Whether a worker takes work: polling, and not merely running."""

from __future__ import annotations

from typing import Final

from stem_core.model.value import Value
from stem_core.observe.families import Row

__all__ = ["DRAINS", "Report", "Vitals", "complaint", "unready"]

DRAINS: Final = "it drains"

_SILENCE_MS: Final = 15_000
"""How long a fetch may be out: three times what an idle one waits at the store."""


class Vitals(Value, frozen=True, kw_only=True):
    """How a worker is, at one moment.

    Attributes:
        busy, slots: tasks that run, and how many may.
        is_begun: it was started.
        is_draining: it was told to stop, or has stopped.
        is_full: it holds all it may, so it has no reason to fetch.
        fault: why the last fetch failed, a value of `Fault`; empty when it did not.
        silent_ms: how long ago it heard of the store, or began to ask.
        is_childless: no child process comes up.
    """

    busy: int
    slots: int
    is_begun: bool = True
    is_draining: bool = False
    is_full: bool = False
    fault: str = ""
    silent_ms: int = 0
    is_childless: bool = False


def complaint(vitals: Vitals) -> str:
    """Return why no work is taken; empty when it is."""
    if not vitals.is_begun:
        return "it has not begun"
    if vitals.is_draining:
        return DRAINS
    if vitals.is_full:
        return ""
    if vitals.fault:
        return f"the broker is away: {vitals.fault}"
    if vitals.silent_ms > _SILENCE_MS:
        return f"the broker has not answered for {vitals.silent_ms // 1000} s"
    return ""


def unready(vitals: Vitals) -> str:
    """Return why it is not all that it should be: takes no work, or none that needs a child."""
    childless = "no child process comes up, the log says why" if vitals.is_childless else ""
    return complaint(vitals) or childless


class Report(Value, frozen=True, kw_only=True):
    """What one process says of itself: its metrics, why it takes no work, if so, and whether
    it has looked at its queues."""

    rows: list[Row]
    complaint: str = ""
    has_queues: bool = False
