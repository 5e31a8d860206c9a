"""Steps of the driver that are waited for in place, and go on in the loop if they take long."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest

from stem_postgres import nearby
from stem_postgres.nearby import Done, Nearby, Steps, give_way

READ, WRITE, EITHER = 1, 2, 3


@pytest.fixture(autouse=True)
def time_passes_by_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A microsecond a look, however long the machine takes."""
    looks = itertools.count()
    clock = SimpleNamespace(perf_counter=lambda: next(looks) / 1_000_000)
    monkeypatch.setattr(nearby, "time", clock)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        yield ours, theirs


def steps(*wanted: int) -> Steps:
    """Wait for each of these; return what there was."""
    found: list[int] = []
    for each in wanted:
        found += [(yield each)]
    return found


def near() -> Nearby:
    found = Nearby()
    found.answered_in(0.000_1)
    assert found.is_near
    return found


def test_steps_that_wait_for_nothing_long_are_done_in_place(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    theirs.sendall(b"reply")
    server = near()
    assert server.begin(steps(WRITE, READ, EITHER), ours.fileno()) == Done([WRITE, READ, EITHER])
    assert server.is_near


def test_steps_that_wait_for_nothing_at_all_are_done(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    assert near().begin(steps(), pair[0].fileno()) == Done([])


def test_what_takes_long_goes_on_from_where_it_stands(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    server = near()
    left = server.begin(steps(WRITE, READ, READ), pair[0].fileno())
    assert not isinstance(left, Done)
    assert not server.is_near
    assert next(left) == READ
    assert left.send(READ) == READ
    with pytest.raises(StopIteration) as done:
        left.send(0)  # as the driver says that nothing came
    assert done.value.value == [WRITE, READ, 0]


def test_what_takes_many_steps_goes_on_in_the_loop_though_each_is_quick(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    server, done_here = near(), 0

    def endless() -> Steps:
        nonlocal done_here
        while True:
            yield WRITE
            done_here += 1

    assert not isinstance(server.begin(endless(), pair[0].fileno()), Done)
    assert done_here > 0
    assert not server.is_near


def test_a_server_that_has_become_slow_is_near_no_more(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pair
    theirs.sendall(b"reply")
    server = near()
    passing = iter([0.0, 0.0, 0.000_1, 0.000_1, 0.001_3])
    monkeypatch.setattr("stem_postgres.nearby.time.perf_counter", lambda: next(passing))
    assert server.begin(steps(READ), ours.fileno()) == Done([READ])
    assert not server.is_near
    server.answered_in(0.000_1)
    assert server.is_near


def test_who_gives_way_has_done_the_first_step(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []
    monkeypatch.setattr(nearby, "_yield_processor", lambda: given.append("way"))
    left = give_way(steps(READ, WRITE), pair[0].fileno())
    assert not isinstance(left, Done)
    assert given == ["way"]
    assert [next(left), left.send(READ)] == [READ, WRITE]
    assert give_way(steps(), pair[0].fileno()) == Done([])
    assert given == ["way"], "nobody was woken"


def test_a_hundred_calls_go_through_the_loop_after_one_that_was_late(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    server = near()
    server.begin(steps(READ), pair[0].fileno())
    for _ in range(100):
        server.answered_in(0.000_1)
        assert not server.is_near
    server.answered_in(0.000_1)
    assert server.is_near


def test_who_looked_in_vain_falls_asleep_at_once_a_hundred_times(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pair
    looks: list[str] = []
    monkeypatch.setattr(nearby, "_yield_processor", lambda: looks.append("look"))
    server = near()
    server.begin(steps(READ), ours.fileno())
    assert looks
    looks.clear()
    theirs.sendall(b"reply")
    for _ in range(100):
        server.is_near = True
        assert server.begin(steps(READ), ours.fileno()) == Done([READ])
    assert not looks
    ours.recv(64)
    server.is_near = True
    server.begin(steps(READ), ours.fileno())
    assert looks, "and then looks again"


def test_where_the_processor_cannot_be_yielded_one_falls_asleep_at_once(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pair
    theirs.sendall(b"reply")
    monkeypatch.setattr(nearby, "_yield_processor", None)
    assert near().begin(steps(READ), ours.fileno()) == Done([READ])


def test_a_server_that_hangs_up_is_left_for_the_driver_to_find_out(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    theirs.close()
    assert near().begin(steps(READ), ours.fileno()) == Done([READ])


def test_what_the_steps_raise_is_raised(pair: tuple[socket.socket, socket.socket]) -> None:
    def fail() -> Any:
        yield WRITE
        raise LookupError("as the driver does")

    with pytest.raises(LookupError, match="as the driver does"):
        near().begin(fail(), pair[0].fileno())
