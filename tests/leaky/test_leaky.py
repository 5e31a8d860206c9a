"""The kit tells every broken broker from a sound one, by the promise that is broken."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from leaky.bugs import BUGS, leaky

from stem_core.embedded.memory.backend import InMemoryResultBackend
from stem_core.embedded.memory.store import MemoryStore
from stem_core.testing import AdminContract, BrokerContract, FakeClock, Stage
from stem_core.testing.contract import staging
from stem_core.testing.contract.promise import terms_of

_numbers = itertools.count()


def factory(*bugs: str) -> Callable[[], Stage]:
    """Stages over a memory store, whose broker has *bugs*."""

    def open_stage() -> Stage:
        clock, name = FakeClock(), f"leaky-{next(_numbers)}"

        async def let_pass(duration_ms: int) -> None:
            clock.advance(timedelta(milliseconds=duration_ms))
            await stage.breathe()

        broker = leaky(*bugs)(name, clock=clock)
        backend = InMemoryResultBackend(name, clock=clock)
        stage = Stage(broker, backend, let_pass, clock.wall_ms)
        MemoryStore.forget(name)
        return stage

    return open_stage


def about(promise: str) -> Iterator[Callable[[object], None]]:
    """The kit's tests that are about *promise*, each to be called with a factory."""
    for contract in (BrokerContract, AdminContract):
        for name in dir(contract):
            terms = terms_of(getattr(contract, name))
            if terms is not None and promise in terms.ids:
                yield getattr(contract(), name)


def verdict(test: Callable[[object], None], stages: Callable[[], Stage]) -> BaseException | None:
    """What *test* raises on *stages*; None when it passes or is not about them."""
    try:
        test(stages)
    except pytest.skip.Exception:
        return None
    except (AssertionError, TimeoutError) as broken:
        return broken
    return None


@pytest.mark.parametrize("bug", BUGS)
def test_the_kit_finds_the_bug_by_the_promise_that_it_breaks(bug: str, monkeypatch: Any):
    monkeypatch.setattr(staging, "_PATIENCE_S", 2)  # nobody comes: no need to wait a minute
    tests = list(about(BUGS[bug].breaks))
    assert any(verdict(test, factory(bug)) for test in tests), f"{bug} goes unseen"


@pytest.mark.parametrize("promise", sorted({bug.breaks for bug in BUGS.values()}))
def test_without_bugs_the_same_tests_pass(promise: str):
    verdicts: list[Any] = [verdict(test, factory()) for test in about(promise)]
    assert verdicts
    assert not any(verdicts)


class TestSound(BrokerContract):
    """With all bugs off the broker keeps every promise."""

    @pytest.fixture
    def stem_broker(self) -> object:
        return factory()


@pytest.mark.parametrize(("url", "code"), [("leaky://", 0), ("leaky://?bugs=no-fence", 1)])
def test_certify_names_the_promise_that_a_plugin_breaks(url: str, code: int):
    here = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "stem_core", "certify", url, "--level", "lease", "--json"],
        env={**os.environ, "STEM_PLUGINS": "leaky.plugin", "PYTHONPATH": here},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    (lease,) = (each for each in json.loads(done.stdout)["levels"] if each["level"] == "lease")
    broken = {each["id"] for each in lease["promises"] if each["verdict"] == "broken"}
    assert broken == ({"SETTLE-2"} if code else set())
