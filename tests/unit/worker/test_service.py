"""What a service manager is told."""

from __future__ import annotations

import math
import os
import socket

import pytest

from stem_core.worker.service import Feeding, Service


@pytest.fixture
def ear(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        ear.setblocking(False)
        yield ear


def heard(ear: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(ear.recv(4096).decode())
        except BlockingIOError:
            return messages


def service_at(ear: socket.socket, **more: str) -> Service:
    found = Service.of({"NOTIFY_SOCKET": ear.getsockname(), **more})
    assert found is not None
    return found


def test_a_process_that_no_manager_started_tells_nobody():
    assert Service.of({}) is None
    assert Service.of({"NOTIFY_SOCKET": "relative"}) is None


def test_what_tasks_start_does_not_speak_for_the_worker():
    environment = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "PATH": "/"}
    Service.of(environment)
    assert environment == {"PATH": "/"}


@pytest.mark.parametrize(
    ("told", "period_ms"),
    [
        ({}, 0),
        ({"WATCHDOG_USEC": "20000000"}, 5_000),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}, 5_000),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
    ],
)
def test_a_watchdog_of_this_process_is_looked_after_four_times_in_its_period(ear, told, period_ms):
    assert service_at(ear, **told).period_ms == period_ms


def test_a_worker_that_polls_or_drains_feeds_the_watchdog_and_no_other(ear):
    service = service_at(ear, WATCHDOG_USEC="1000000")
    for complaint in ("", "it drains", "the broker is away: reconnect"):
        service.answered(complaint)
    assert heard(ear) == ["WATCHDOG=1", "WATCHDOG=1", "STATUS=the broker is away: reconnect"]


def test_the_end_is_told_once(ear):
    service = service_at(ear)
    service.stopping()
    service.stopping()
    assert len(heard(ear)) == 1


def test_a_manager_that_is_gone_costs_nothing(tmp_path):
    service = Service.of({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert service is not None
    service.ready("fine")


def test_an_abstract_socket_is_reached():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        name = f"stem-{os.getpid()}"
        ear.bind("\0" + name)
        found = Service.of({"NOTIFY_SOCKET": "@" + name})
        assert found is not None
        found.ready("fine")
        assert ear.recv(100) == b"READY=1\nSTATUS=fine"


def test_processes_are_asked_once_in_a_period(ear):
    asked: list[int] = []
    feeding = Feeding(service_at(ear, WATCHDOG_USEC="4000000"), lambda: asked.append(1))
    for now_ms in range(0, 3_000, 100):
        feeding.passed(now_ms)
    assert len(asked) == 3
    assert Feeding(service_at(ear), lambda: None).wakes_at_ms == math.inf
