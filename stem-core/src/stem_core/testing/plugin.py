"""The pytest plugin of Stem: fixtures for tests of tasks, and the options of the conformance kit.

Rule of this module: it is imported in every pytest run where Stem is installed, so it
imports nothing but pytest. Each fixture fetches what it needs when a test asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stem_core.producer.client import Stem
    from stem_core.producer.override import Override
    from stem_core.testing.clock import FakeClock
    from stem_core.testing.drain import StemWorker
    from stem_core.testing.outbox import StemOutbox

__all__ = [
    "pytest_addoption",
    "stem_app",
    "stem_clock",
    "stem_original",
    "stem_outbox",
    "stem_worker",
]

# Here, before any conftest can import the kit: its assertions say what they compare.
pytest.register_assert_rewrite("stem_core.testing.contract")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register what the fixtures and ``pytest --pyargs stem_core.testing.conformance`` read."""
    parser.addini(
        "stem_app",
        default="",
        help="The Stem that the fixture stem_app rebinds: module:attribute, as shop.tasks:stem.",
    )
    group = parser.getgroup("stem", "Stem: the conformance kit")
    for kind in ("broker", "backend", "signer"):
        group.addoption(
            f"--stem-{kind}-url",
            metavar="URL",
            default="",
            help=f"Prove the {kind} that URL opens; with --pyargs stem_core.testing.conformance.",
        )
    group.addoption(
        "--stem-verifier-url",
        metavar="URL",
        default="",
        help="Prove with the signer that this one, which knows its key, can only verify.",
    )
    group.addoption(
        "--stem-seed",
        metavar="N",
        type=int,
        default=0,
        help="Let the kit draw from this seed, as a failure has named it; 0 takes a new one.",
    )


# ── fixtures ─────────────────────────────────────────────────────────────────


@pytest.fixture
def stem_original(pytestconfig: pytest.Config) -> Stem:
    """The Stem that stem_app rebinds: what the ini option stem_app names, else a new one.

    Override this fixture to choose it by code; return it as production has it.
    """
    from stem_core.model.errors import ConfigError
    from stem_core.testing.apps import app_named

    try:
        return app_named(pytestconfig.getini("stem_app"))
    except ConfigError as error:
        complaint = str(error)
    pytest.fail(complaint, pytrace=False)  # not above: it would be shown with what caused it


@pytest.fixture
def stem_clock() -> FakeClock:
    """The clock of stem_app: it begins at the present and moves by stem_clock.advance("5m") only.

    Override this fixture to begin at another time; return a `FakeClock`.
    """
    from datetime import UTC, datetime

    from stem_core.testing.clock import FakeClock

    return FakeClock(datetime.now(UTC))


@pytest.fixture
def _stem_override(stem_original: Stem, stem_clock: FakeClock) -> Iterator[Override]:
    """How stem_app is rebound."""
    from stem_core.producer.client import Stem
    from stem_core.testing.clock import LongestWaits

    if not isinstance(stem_original, Stem):
        pytest.fail(
            f"the fixture stem_original must return a Stem, it returned {stem_original!r:.60}",
            pytrace=False,
        )
    with stem_original.override(clock=stem_clock, dice=LongestWaits()) as override:
        yield override


@pytest.fixture
def stem_app(stem_original: Stem, _stem_override: Override) -> Stem:
    """Your Stem on a memory broker of this test's own; it encodes, signs and verifies as ever."""
    return stem_original


@pytest.fixture
def stem_worker(
    request: pytest.FixtureRequest, stem_app: Stem, _stem_override: Override
) -> Iterator[StemWorker]:
    """Runs the tasks of stem_app: stem_worker.drain(), and with await in an async test."""
    from stem_core.testing.drain import StemWorker

    _check_is_rebound(request, stem_app)
    # A failed test shows it, as it does what was printed; a test that passes does not.
    worker = StemWorker(stem_app, partial(request.node.add_report_section, "call", "task failures"))
    yield worker
    if worker.was_left_waiting:
        pytest.fail(
            "stem_worker.drain() was called in an async test and nobody awaited it, so it ran "
            "nothing.\n  Write await stem_worker.drain().",
            pytrace=False,
        )


@pytest.fixture
def stem_outbox(
    request: pytest.FixtureRequest, stem_app: Stem, _stem_override: Override
) -> StemOutbox:
    """What stem_app sent: stem_outbox.assert_enqueued(charge, args={"amount": 5}, count=1)."""
    from stem_core.testing.outbox import StemOutbox

    _check_is_rebound(request, stem_app)
    return StemOutbox(_stem_override)


def _check_is_rebound(request: pytest.FixtureRequest, app: Stem) -> None:
    if app is not request.getfixturevalue("stem_original"):
        pytest.fail(
            "the fixture stem_app is overridden, and what it returns is not rebound: it would "
            "use the broker of production.\n  Override stem_original instead, or name the Stem "
            "in the ini option stem_app.",
            pytrace=False,
        )
