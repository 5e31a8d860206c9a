"""Running one contract test: open a stage, ask whether it is claimed, test, close.

Rule of this module: a mistake of the author ends in one sentence, a broken promise in the
traceback of the test.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Set
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import Any, Final

import pytest

from stem_core.contracts.backend import ResultBackend
from stem_core.contracts.broker import Broker
from stem_core.contracts.signer import Signer
from stem_core.testing.contract.claims import absent, disagreement, lacking
from stem_core.testing.contract.misuse import Misuse, of_loop
from stem_core.testing.contract.opening import open_backend_stage, open_signer, open_stage
from stem_core.testing.contract.stage import Stage
from stem_core.testing.contract.stalls import NotDone, Stalls, on_a_steady_clock

__all__ = ["OnBackend", "OnBroker", "OnSigner", "on_backend_stage", "on_broker_stage", "on_signer"]

_PATIENCE_S: Final = 60
_PATIENCE_WITHOUT_TIME_S: Final = 20
"""Real time, as a last resort: a wake-up that is missed must fail, not hang."""

Test = Callable[..., Awaitable[None]]


class OnBroker:
    """Where broker tests take place. Set `url`, or override the fixture `stem_broker`.

    Attributes:
        url: of the broker; each test gets a namespace of its own, at random.
        backend_url: of a result backend; the broker's own if it has one.
        claims: what the broker is meant to declare, by the names of `Capabilities`; None
            for whatever it declares.
        unit_ms: what tests take for a long time; 0 for one that fits a URL, 1000 else.
        transaction, transaction_sync: methods that begin a transaction, for a
            `TransactionalBroker`; `transaction.TransactionContract` says how.
    """

    url: str = ""
    backend_url: str = ""
    claims: Set[str] | None = None
    unit_ms: int = 0
    transaction: Any = None
    transaction_sync: Any = None

    @pytest.fixture
    def stem_broker(self) -> object:
        """A URL, or a factory: called without arguments in the loop of each test, plain or
        async, it returns a `Broker` or a `Stage`, alone in a namespace."""
        return self.url


class OnBackend:
    """Where backend tests take place; see `OnBroker`. `claims` names `BackendCapabilities`."""

    url: str = ""
    claims: Set[str] | None = None
    unit_ms: int = 0

    @pytest.fixture
    def stem_backend(self) -> object:
        """A URL, or a factory of a `ResultBackend` or a `Stage` with one."""
        return self.url


class OnSigner:
    """Where signer tests take place. Set `url`, or override the fixture `stem_signer`."""

    url: str = ""
    verifier_url: str = ""

    @pytest.fixture
    def stem_signer(self) -> object:
        """A URL, or a plain factory of a `Signer`, called once for each test."""
        return self.url

    @pytest.fixture
    def stem_verifier(self) -> object:
        """The same for one that knows the key of `stem_signer` and cannot sign; optional."""
        return self.verifier_url


def on_broker_stage(case: OnBroker, given: object, needs: Set[str], test: Test) -> None:
    """Run *test* of *case* on the stage of a broker."""
    __tracebackhide__ = True

    async def opened() -> tuple[Stage, Broker]:
        stage = await open_stage(
            given, backend_url=case.backend_url, unit_ms=case.unit_ms, needs=needs
        )
        return stage, stage.broker

    _take_place(case, opened, needs, test, "stem_broker")


def on_backend_stage(case: OnBackend, given: object, needs: Set[str], test: Test) -> None:
    """Run *test* of *case* on the stage of a backend."""
    __tracebackhide__ = True

    async def opened() -> tuple[Stage, ResultBackend]:
        stage = await open_backend_stage(given, unit_ms=case.unit_ms)
        return stage, stage.results

    _take_place(case, opened, needs, test, "stem_backend")


class _LeftOut(Exception):
    """This test is not about what was given; says why."""


def _take_place(
    case: Any,
    opened: Callable[[], Awaitable[tuple[Stage, Broker | ResultBackend]]],
    needs: Set[str],
    test: Test,
    fixture: str,
) -> None:
    __tracebackhide__ = True

    async def on_stage(least_unit_ms: int, stalls: Stalls) -> None:
        stage, subject = await opened()
        async with _closing(stage):
            stage.unit_ms = max(stage.unit_ms, least_unit_ms)
            if why := absent(case, stage, subject, needs):
                raise _LeftOut(why)
            if why := lacking(subject, needs):
                raise Misuse(why)
            # What happens between processes no stall of this loop explains.
            with nullcontext() if "address" in needs else stalls.seen_on(stage):
                await _in_time(test(case, stage), stage)

    left_out = mistake = ""
    try:
        on_a_steady_clock(on_stage)
    except _LeftOut as why:
        left_out = str(why)
    except Misuse as why:
        mistake = str(why)
    except Exception as error:
        misuse = of_loop(error, fixture)
        if misuse is None:
            raise
        mistake = str(misuse)
    if left_out:
        pytest.skip(left_out)
    if mistake:
        pytest.fail(mistake, pytrace=False)


async def _in_time(test: Awaitable[None], stage: Stage) -> None:
    patience_s = _PATIENCE_S if stage.is_real else _PATIENCE_WITHOUT_TIME_S
    deadline = asyncio.timeout(patience_s)
    try:
        async with deadline:
            await test
    except TimeoutError as error:
        if not deadline.expired():
            raise
        why = f"not done after {patience_s} s: a wake-up was missed, or a call hangs"
        raise NotDone(why) from error


@asynccontextmanager
async def _closing(stage: Stage) -> AsyncIterator[None]:
    """Close *stage* at the end; what closing says after a failure is told by the failure."""
    try:
        yield
    except BaseException:
        with suppress(Exception):
            await stage.aclose()
        raise
    await stage.aclose()


def check_claims(case: Any, subject: Broker | ResultBackend) -> None:
    """Raise `Misuse` unless the `claims` of *case* are what *subject* declares and has."""
    claims = case.claims
    if claims is None:
        return
    if isinstance(claims, str) or not isinstance(claims, Set):
        raise Misuse(
            f"`claims` is {claims!r}: give a set of names, such as {{'delay', 'priority'}}"
        )
    if why := disagreement(claims, subject.capabilities, type(subject).__name__):
        raise Misuse(why)


def on_signer(
    case: OnSigner, given: object, verifier: object, signs: bool, test: Callable[..., None]
) -> None:
    """Run *test* of *case* with a signer that can sign, or with one that cannot."""
    __tracebackhide__ = True
    left_out = mistake = ""
    signer: Signer | None = None
    try:
        signer = _fitting(given, verifier, signs)
    except Misuse as why:
        mistake = str(why)
    except _LeftOut as why:
        left_out = str(why)
    if left_out:
        pytest.skip(left_out)
    if mistake:
        pytest.fail(mistake, pytrace=False)
    test(case, signer)


def _fitting(given: object, verifier: object, signs: bool) -> Signer:
    signer = open_signer(given, "stem_signer")
    if signer.can_sign is signs:
        return signer
    if signs:
        raise _LeftOut("not claimed: signing")
    if verifier is None or verifier == "":
        raise _LeftOut("not run: it needs `stem_verifier`, a signer that can only verify")
    other = open_signer(verifier, "stem_verifier")
    if other.can_sign:
        raise Misuse("`stem_verifier` gave a signer that can sign: give one without a signing key")
    return other
