"""Named points where a test lets this process die, stop, fail or wait.

Between the lines of a claim, a settlement and a publish lies what a crash can break. Each such
place has a name, and ``STEM_TEST_FAILPOINTS`` says what happens there::

    STEM_TEST_FAILPOINTS="sqlite.settle.before_commit=kill@3; worker.claim.before_start=sleep(500)"

Actions: ``kill`` and ``stop`` send SIGKILL or SIGSTOP to this process, ``raise`` raises
`StoreUnavailable`, ``sleep(MS)`` blocks the thread. With ``@N`` it is done at the N-th passing
alone. Without the variable a point costs one look at `ARMED`::

    if failpoints.ARMED:
        failpoints.reach("sqlite.settle.before_commit")

The idea is that of FreeBSD's fail(9).
"""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Final

from attrs import define, field, frozen

from stem_core.model.errors import ConfigError, StoreUnavailable

__all__ = ["ARMED", "NAMES", "VARIABLE", "Plan", "arm", "armed", "parse", "reach"]

VARIABLE: Final = "STEM_TEST_FAILPOINTS"
NAMES: Final = frozenset(
    {
        "memory.cancel.before_write",
        "memory.cancel.after_write",
        "memory.claim.before_write",
        "memory.claim.after_write",
        "memory.extend.before_write",
        "memory.extend.after_write",
        "memory.settle.before_write",
        "memory.settle.after_write",
        "memory.sweep.before_write",
        "memory.sweep.after_write",
        "producer.publish.before",
        "producer.publish.after",
        "sqlite.cancel.before_commit",
        "sqlite.cancel.after_commit",
        "sqlite.claim.before_commit",
        "sqlite.claim.after_commit",
        "sqlite.extend.before_commit",
        "sqlite.extend.after_commit",
        "sqlite.publish.before_commit",
        "sqlite.publish.after_commit",
        "sqlite.publish_alone.before_commit",
        "sqlite.settle.before_commit",
        "sqlite.settle.after_commit",
        "sqlite.sweep.before_commit",
        "worker.claim.before_start",
        "worker.save.after",
        "worker.settle.before",
        "worker.settle.after",
    }
)
"""Those of this distribution. A plugin's begin with its scheme and are not known here."""

ARMED = False
"""Whether any point does anything."""

_log: Final = logging.getLogger("stem.failpoints")
_OURS: Final = frozenset(name.partition(".")[0] for name in NAMES)
_ENTRY: Final = re.compile(
    r"(?P<name>[a-z0-9_.]+)=(?P<action>kill|stop|raise|sleep\((?P<ms>\d{1,6})\))(?:@(?P<nth>[1-9]\d{0,8}))?"
)


@frozen
class Plan:
    """What happens at one point.

    Attributes:
        action: ``kill``, ``stop``, ``raise`` or ``sleep``.
        ms: how long ``sleep`` takes.
        nth: the passing at which it happens, from 1; 0 for each.
    """

    action: str
    ms: int = 0
    nth: int = 0


@define
class _Point:
    plan: Plan
    passed: int = 0
    lock: threading.Lock = field(factory=threading.Lock)

    def is_due(self) -> bool:
        with self.lock:
            self.passed += 1
            return self.plan.nth in (0, self.passed)


_points: dict[str, _Point] = {}


def parse(text: str) -> Mapping[str, Plan]:
    """Return the plans that *text* names, by point.

    Raises:
        ConfigError: names the part that is none.
    """
    plans: dict[str, Plan] = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        found = _ENTRY.fullmatch(part)
        if found is None:
            raise ConfigError(
                f"{VARIABLE}: {part!r:.80} says nothing to do at a point",
                way_out="Write NAME=kill, stop, raise or sleep(MS), and @N for the N-th time.",
            )
        name = _known(found["name"])
        if name in plans:
            raise ConfigError(f"{VARIABLE}: {name} is named twice")
        action = found["action"].partition("(")[0]
        plans[name] = Plan(action, int(found["ms"] or 0), int(found["nth"] or 0))
    return plans


def _known(name: str) -> str:
    room = name.partition(".")[0]
    # A plugin has not said which points it has; but a room almost like ours is a misspelt one.
    if name in NAMES or not get_close_matches(room, _OURS, n=1, cutoff=0.8):
        return name
    close = get_close_matches(name, NAMES, n=1)
    hint = f"Did you mean {close[0]}?" if close else f"There are {', '.join(sorted(NAMES))}."
    raise ConfigError(f"{VARIABLE}: there is no point {name!r:.80}", way_out=hint)


def arm(text: str) -> None:
    """Let points do what *text* says from now on, and nothing else; empty disarms all.

    Raises:
        ConfigError: as `parse`.
    """
    global ARMED, _points
    plans = parse(text)
    _points = {name: _Point(plan) for name, plan in plans.items()}
    ARMED = bool(plans)
    if ARMED:
        _log.warning("failpoints are armed, this process will fail on purpose: %s", text)


@contextmanager
def armed(text: str) -> Iterator[None]:
    """Arm points for the length of a block."""
    arm(text)
    try:
        yield
    finally:
        arm("")


def reach(name: str) -> None:
    """Do what is planned at the point *name*.

    Raises:
        StoreUnavailable: that is what is planned.
    """
    point = _points.get(name)
    if point is None or not point.is_due():
        return
    match point.plan.action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "sleep":
            time.sleep(point.plan.ms / 1000)
        case _:
            raise StoreUnavailable(f"failpoint {name}")


arm(os.environ.get(VARIABLE, ""))
