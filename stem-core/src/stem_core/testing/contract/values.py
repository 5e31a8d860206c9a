"""Messages, records and settlements with what a test does not care about filled in."""

from __future__ import annotations

from typing import Any, Final

from stem_core.contracts.messages import ACK, DeadLetter, Delivery, Message, Settlement
from stem_core.contracts.messages import SettleOutcome as Outcome
from stem_core.model.outcome import Reason, Record, State, TaskError

__all__ = ["DEAD", "LONG", "NASTY", "end", "ended", "failure", "message", "record"]

LONG: Final = 10**6
"""Milliseconds that no test lives to see."""

NASTY: Final = (
    b"\x00\x01\xff",
    "🌱\u0000é".encode(),
    b'{"n":%d}' % (2**80 + 1),  # what a store that reads JSON makes a float of
    b"x" * 65_536,
    b"",
)
"""Bodies that a store may spoil that thinks it knows better than to keep bytes."""

DEAD: Final = DeadLetter(Reason.REJECTED)


def message(id: str = "m", queue: str = "q", **fields: Any) -> Message:
    """A message."""
    return Message(**{"id": id, "queue": queue, "task": "t", "body": b"{}", **fields})


def record(id: str = "r", state: State = State.SUCCEEDED, **fields: Any) -> Record:
    """A record."""
    return Record(id=id, state=state, **fields)


def ended(delivery: Delivery, state: State = State.SUCCEEDED, **fields: Any) -> Record:
    """The record that a worker saves with *delivery*."""
    own = {"id": delivery.message.id, "state": state, "fence": delivery.receipt.fence}
    return Record(**{**own, **fields})


def end(delivery: Delivery, outcome: Outcome = ACK, **more: Any) -> Settlement:
    """The settlement of *delivery*."""
    return Settlement(receipt=delivery.receipt, outcome=outcome, **more)


def failure(attempt: int) -> TaskError:
    """An error of that attempt."""
    return TaskError(type="builtins.ValueError", message=f"no. {attempt}", attempt=attempt)
