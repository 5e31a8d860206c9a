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
from stem_core.embedded.memory.broker import CAPABILITIES
from stem_core.embedded.memory.store import MemoryStore
from stem_core.testing import AdminContract, BrokerContract, FakeClock, Stage
from stem_core.testing.contract import staging
from stem_core.testing.contract.claims import declared
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
        stage = Stage(
            broker,
            backend,
            let_pass,
            clock.wall_ms,
            full=lambda: broker.in_trouble("full"),
            read_only=lambda: broker.in_trouble("read-only"),
        )
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
    monkeypatch.setattr(staging, "_PATIENCE_WITHOUT_TIME_S", 2)  # nobody comes: no need to wait
    tests = list(about(BUGS[bug].breaks))
    assert any(verdict(test, factory(bug)) for test in tests), f"{bug} goes unseen"


@pytest.mark.parametrize("promise", sorted({bug.breaks for bug in BUGS.values()}))
def test_without_bugs_the_same_tests_pass(promise: str):
    verdicts: list[Any] = [verdict(test, factory()) for test in about(promise)]
    assert verdicts
    assert not any(verdicts)


class TestSound(BrokerContract):
    """With all bugs off the broker keeps every promise."""

    claims = declared(CAPABILITIES)

    @pytest.fixture
    def stem_broker(self) -> object:
        return factory()


# ── by URL, as a stranger's plugin is ────────────────────────────────────────


def certifying(*given: str) -> subprocess.Popen[str]:
    """Start to certify, in a process that knows the plugin."""
    here = str(Path(__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-m", "stem_core", "certify", *given, "--json"],
        env={**os.environ, "STEM_PLUGINS": "leaky.plugin", "PYTHONPATH": here},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    """Return the exit code of *process*, and what it has certified."""
    try:
        said, errors = process.communicate(timeout=150)
    finally:
        process.kill()
    assert said, errors
    return process.returncode, json.loads(said)


def ids_of(certificate: dict[str, Any], verdict: str) -> set[str]:
    """The promises of *certificate* with that *verdict*."""
    promises = [each for level in certificate["levels"] for each in level["promises"]]
    return {each["id"] for each in promises if each["verdict"] == verdict}


def test_with_all_bugs_off_it_is_certified_on_every_level_that_it_declares() -> None:
    code, certificate = ended(certifying("leaky://", "--jobs", "3"))
    assert (code, certificate["certified"]) == (0, True), certificate
    verdicts = {each["level"]: each["verdict"] for each in certificate["levels"]}
    assert verdicts == {
        **dict.fromkeys(("core", "lease", "delay", "priority", "dedupe"), "kept"),
        **dict.fromkeys(("transactional", "chaos"), "not claimed"),
    }
    assert {bug.breaks for bug in BUGS.values()} <= ids_of(certificate, "kept")
    assert not ids_of(certificate, "broken")


def test_certify_names_the_promise_that_a_plugin_breaks() -> None:
    given = ("leaky://?bugs=no-fence", "--level", "lease", "--jobs", "3")
    code, certificate = ended(certifying(*given))
    assert (code, ids_of(certificate, "broken")) == (1, {"SETTLE-2"})
