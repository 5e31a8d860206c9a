"""Faults on request, and proof of what came of them.

- `FaultProxy`: a network that fails, in front of any server.
- `FaultyBroker`, `FaultyBackend`: a store that fails call by call, as a `FaultPlan` has it.
- `Recorder`, `History`, `judge`: what happened, written down by many processes, and what it proves.
"""

from __future__ import annotations

from stem_core.testing.faults.checker import Findings, complaints, judge
from stem_core.testing.faults.faulty import FaultyBackend, FaultyBroker
from stem_core.testing.faults.history import Event, History, Recorder, Tail, What, now
from stem_core.testing.faults.plan import (
    EXECUTED_THEN_TIMEOUT,
    TIMEOUT,
    UNAVAILABLE,
    FaultPlan,
    FaultRule,
    Fired,
    SeededDice,
    Slow,
)
from stem_core.testing.faults.proxy import FaultProxy
from stem_core.testing.faults.recording import RecordingBroker
from stem_core.testing.faults.splitting import CHUNKS, RESP, Dialect, Piece, Splitter
from stem_core.testing.faults.truth import Commit, Truth, commits_told, truth_of

__all__ = [
    "CHUNKS",
    "EXECUTED_THEN_TIMEOUT",
    "RESP",
    "TIMEOUT",
    "UNAVAILABLE",
    "Commit",
    "Dialect",
    "Event",
    "FaultPlan",
    "FaultProxy",
    "FaultRule",
    "FaultyBackend",
    "FaultyBroker",
    "Findings",
    "Fired",
    "History",
    "Piece",
    "Recorder",
    "RecordingBroker",
    "SeededDice",
    "Slow",
    "Splitter",
    "Tail",
    "Truth",
    "What",
    "commits_told",
    "complaints",
    "judge",
    "now",
    "truth_of",
]
