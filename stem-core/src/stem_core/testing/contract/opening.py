"""From what an author gives, a URL or a factory, to a stage.

Rule of this module: what cannot be opened is told as `Misuse`, with no secret of a URL.
"""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Awaitable, Callable, Set
from functools import partial
from secrets import token_hex
from statistics import median
from typing import Any, Final

from stem_core.contracts.backend import ResultBackend
from stem_core.contracts.broker import Broker
from stem_core.contracts.hookspecs import PluginContext
from stem_core.contracts.signer import Signer
from stem_core.discovery.host import PluginHost
from stem_core.discovery.settings import PluginSettings
from stem_core.model.errors import StemError
from stem_core.model.settings import StemConfig
from stem_core.model.urls import StemURL
from stem_core.testing.contract.claims import WIRE
from stem_core.testing.contract.misuse import (
    Misuse,
    call,
    left_behind,
    made,
    unreachable,
    wrong_type,
)
from stem_core.testing.contract.stage import Address, Stage, elapsed_ms
from stem_core.testing.contract.values import end, message
from stem_core.testing.contract.wire import open_over_wire

__all__ = ["backend_beside", "open_address", "open_backend_stage", "open_signer", "open_stage"]

_LEAST_UNIT_MS: Final = 250
_MOST_UNIT_MS: Final = 5000
_TRIPS_PER_UNIT: Final = 25
"""A test does less than this many round trips while a unit of time must not pass."""

_ROUNDS: Final = 5
_TRIPS_PER_ROUND: Final = 3

_paces: dict[str, int] = {}
_closed: dict[str, Misuse] = {}
"""By URL: a store that cannot be reached is asked once, not once for each test."""

_given: set[tuple[str, str]] = set()
"""Fixture and identity of the stores that factories have given: a second time is suspect."""

_USUAL_IDS: Final = ("m", "m0", "m1", "r", "r0")
"""Under which most tests publish and save."""

_A_BROKER: Final = (
    "give a URL such as 'redis://localhost:6379/0', or a factory: a function, plain or async, "
    "that returns a Broker or a Stage"
)
_A_BACKEND: Final = (
    "give a URL such as 'redis://localhost:6379/0', or a factory: a function, plain or async, "
    "that returns a ResultBackend or a Stage with one"
)
_A_SIGNER: Final = (
    "give a URL such as 'hmac-sha256+env://', or a factory: a plain function that returns a Signer"
)


# ── brokers ──────────────────────────────────────────────────────────────────


async def open_stage(
    given: object, *, backend_url: str, unit_ms: int, needs: Set[str] = frozenset()
) -> Stage:
    """Open what `stem_broker` gave; *unit_ms* 0 measures a URL for one that fits.

    *needs* are those of the test: some are served by a proxy before the store of a URL.
    """
    if isinstance(given, str) and given:
        open_it = partial(open_over_wire, open_address=open_address)
        way = open_it if needs & WIRE else open_address
        return await _at_url("stem_broker", given, backend_url, unit_ms, way)
    got = await _made(given, "stem_broker", _A_BROKER)
    stage = Stage(got, unit_ms=unit_ms or 1000) if isinstance(got, Broker) else got
    if not isinstance(stage, Stage) or not stage.has_broker:
        raise wrong_type("stem_broker", got, _A_BROKER)
    await _refuse_used(stage, "stem_broker", stage.broker)
    return stage


async def open_backend_stage(given: object, *, unit_ms: int) -> Stage:
    """Open what `stem_backend` gave."""
    if isinstance(given, str) and given:
        stage = await _at_url("stem_backend", "", given, unit_ms, open_address)
        if stage.backend is None:
            raise Misuse(f"`stem_backend` gave {shown(given)}, which opens to none on purpose")
        return stage
    got = await _made(given, "stem_backend", _A_BACKEND)
    is_backend = isinstance(got, ResultBackend)
    stage = Stage(backend=got, unit_ms=unit_ms or 1000) if is_backend else got
    if not isinstance(stage, Stage) or stage.backend is None:
        raise wrong_type("stem_backend", got, _A_BACKEND)
    await _refuse_used(stage, "stem_backend", stage.backend)
    return stage


async def _made(given: object, fixture: str, wanted: str) -> Any:
    if not callable(given) or isinstance(given, Broker | ResultBackend | Stage):
        raise wrong_type(fixture, given, wanted)
    got = call(given, fixture)
    return await made(got, fixture) if inspect.isawaitable(got) else got


async def _refuse_used(stage: Stage, fixture: str, subject: Broker | ResultBackend) -> None:
    """Raise unless the stage is new, and the store behind it new or empty."""
    if stage.is_closed:
        raise Misuse(
            f"`{fixture}` gave the stage of an earlier test again, and that is closed: "
            "let the factory make a new one at each call"
        )
    store = (fixture, subject.store_id)
    if store not in _given:
        _given.add(store)
        return
    stage.given_again = fixture
    if what := await _left_in(subject):
        await stage.aclose()
        raise left_behind(fixture, subject.store_id, what)


async def _left_in(subject: Broker | ResultBackend) -> str:
    """Name what can be seen of an earlier test; empty when nothing can."""
    if isinstance(subject, ResultBackend):
        records = await subject.load(_USUAL_IDS)
        return next((f"the record {record.id!r}" for record in records if record), "")
    found = await subject.lookup(_USUAL_IDS)
    return next((f"the message {each.message.id!r}" for each in found if each), "")


# ── by URL ───────────────────────────────────────────────────────────────────


async def _at_url(
    fixture: str,
    broker: str,
    backend: str,
    unit_ms: int,
    open_it: Callable[[Address], Awaitable[Stage]],
) -> Stage:
    """Open a fresh namespace of the stores that the URLs name; *broker* may be empty."""
    key = f"{broker} {backend}"
    if key in _closed:
        raise _closed[key]
    address = Address(broker, backend, f"kit-{token_hex(6)}")
    try:
        stage = await open_it(address)
    except StemError as error:
        _closed[key] = unreachable(fixture, shown(broker or backend), error)
        raise _closed[key] from None
    if not unit_ms and key not in _paces:
        _paces[key] = await _pace(stage)
    stage.unit_ms = unit_ms or _paces[key]
    return stage


async def open_address(address: Address) -> Stage:
    """Open the stores at *address*; without a backend URL the broker's, if it has one.

    Raises:
        StemError: a URL is wrong, its plugin is missing, or the store cannot be reached.
    """
    host, context = _host(), _context(address.namespace)
    broker = backend = None
    if address.broker:
        broker = await host.open_broker(StemURL.parse(address.broker), context)
    try:
        backend_url = address.backend or backend_beside(address.broker)
        if backend_url:
            backend = await host.open_backend(StemURL.parse(backend_url), context)
    except BaseException:
        if broker is not None:
            await broker.aclose()
        raise
    return Stage(broker, backend, address=address)


def backend_beside(broker: str) -> str:
    """Return the URL of the backend that the broker's own plugin has; empty without one."""
    return broker if _host().offers("backend", StemURL.parse(broker).scheme) else ""


async def _pace(stage: Stage) -> int:
    """Return a unit of time that is long for this store, as far away and as slow as it is."""
    rounds_ms: list[float] = []
    for round in range(_ROUNDS):
        began = time.monotonic()
        if stage.has_broker:
            await _one_task(stage, f"pace-{round}")
        elif stage.backend is not None:
            await stage.backend.load(["pace"])
        rounds_ms.append(elapsed_ms(began))
    # What usually takes that long, and one that is held up as the slowest was.
    unit_ms = median(rounds_ms) * _TRIPS_PER_UNIT / _TRIPS_PER_ROUND + max(rounds_ms)
    return min(_MOST_UNIT_MS, max(_LEAST_UNIT_MS, round_up(unit_ms)))


async def _one_task(stage: Stage, id: str) -> None:
    await stage.broker.publish([message(id, "pace")])
    for delivery in await stage.fetch("pace"):
        await stage.settle(end(delivery))


def round_up(duration_ms: float) -> int:
    """Return *duration_ms* in whole tens."""
    return -int(-duration_ms // 10) * 10


def shown(url: str) -> str:
    """Return *url* without its secrets; nothing of it if it is none."""
    try:
        return StemURL.parse(url).redacted()
    except StemError:
        return "a URL"


def _config() -> StemConfig:
    """Return what the environment says of plugins and TLS; the rest is not the kit's."""
    wanted = ("STEM_PLUGINS", "STEM_TLS")
    variables = {name: value for name, value in os.environ.items() if name.startswith(wanted)}
    return StemConfig.from_environment(variables, require_broker=False)


def _host() -> PluginHost:
    return PluginHost(PluginSettings.of(_config()))


def _context(namespace: str, **more: Any) -> PluginContext:
    return PluginContext(namespace=namespace, tls=_config().tls, **more)


# ── signers ──────────────────────────────────────────────────────────────────


def open_signer(given: object, fixture: str) -> Signer:
    """Open what *fixture* gave."""
    if isinstance(given, str) and given:
        return _signer_at(given, fixture)
    if not callable(given) or isinstance(given, Signer):
        raise wrong_type(fixture, given, _A_SIGNER)
    made = call(given, fixture)
    if not isinstance(made, Signer):
        raise wrong_type(fixture, made, _A_SIGNER)
    return made


def _signer_at(text: str, fixture: str) -> Signer:
    try:
        context = _context("stem", role="signer", environment=dict(os.environ))
        signer = _host().open_signer(StemURL.parse(text), context)
    except StemError as error:
        raise unreachable(fixture, shown(text), error) from None
    if signer is None:
        raise Misuse(f"`{fixture}` gave {shown(text)}, which opens to no signer on purpose")
    return signer
