"""The harness notices what it is there to notice, and leaves no process behind."""

from __future__ import annotations

import os

import pytest
from chaos.plan import ENDLESS, Plan
from chaos.redis_arena import commands
from chaos.relay import wait_for_starts

from stem_core.testing.faults.checker import complaints
from stem_core.testing.faults.history import What


def test_a_broker_that_acknowledges_before_the_run_is_found_out(arena_of) -> None:
    with arena_of("leaky", is_leaky=True) as arena:
        worker = arena.ready_worker()
        arena.enqueue([{"until": "never"}])
        wait_for_starts(arena, worker, 1)
        worker.kill()
        found = arena.judge()
    assert (found.accepted, len(found.lost), len(found.misrecorded)) == (1, 1, 1)
    assert complaints(found)


def test_the_ledger_reads_what_a_server_has_written_and_waits_for_the_rest() -> None:
    text = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\r\n\r\n*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGE"
    assert list(commands(text)) == [(28, [b"SET", b"k", b"\r\n"]), (42, [b"PING"])]


def test_nobody_is_left_when_a_trial_fails(arena_of) -> None:
    arena = arena_of("failing")
    with arena:
        arena.producer(Plan(ENDLESS))
        arena.wait_for(lambda events: any(e.what is What.ACCEPTED for e in events), "start")
        arena.producer(Plan(ENDLESS)).freeze()
        with pytest.raises(AssertionError, match="no miracle within"):
            arena.wait_until(lambda: False, "miracle", 0.1)
    for party in arena.parties:
        assert party.exit_code == -9
        with pytest.raises(ProcessLookupError):
            os.kill(party.pid, 0)
