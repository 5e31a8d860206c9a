"""What a Stem runs on: its settings resolved, its pipeline, its lanes. Made on first use.

Rule of this module: nothing connects here. URLs become handles in `lanes`, in the loop
that uses them; here they are read, checked and held against each other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import MappingProxyType
from typing import Final, TypeAlias, TypeVar

from attrs import evolve, frozen

from stem_core.contracts.backend import ResultBackend
from stem_core.contracts.broker import Broker
from stem_core.contracts.clock import Clock, Dice
from stem_core.contracts.hookspecs import AppInfo, Middleware, PluginContext
from stem_core.contracts.signer import Signer
from stem_core.discovery.host import PluginHost
from stem_core.model.errors import ConfigError, MissingSetting
from stem_core.model.options import UNSET, Unset
from stem_core.model.outcome import Record
from stem_core.model.settings import StemConfig, check_tls
from stem_core.model.urls import StemURL
from stem_core.observe.events import Observers
from stem_core.producer.lane import Lane
from stem_core.producer.lanes import Lanes, Opening
from stem_core.producer.patience import Patience
from stem_core.producer.pipeline import Pipeline
from stem_core.producer.registry import TaskRegistry
from stem_core.producer.routes import Routes
from stem_core.producer.sealing import check_results, verifier
from stem_core.producer.signing import signer_of

__all__ = [
    "GivenBackend",
    "GivenBroker",
    "GivenSigner",
    "Runtime",
    "Wiring",
    "build",
    "check_schemes",
    "parsed",
]

GivenBroker: TypeAlias = Broker | StemURL | None
GivenBackend: TypeAlias = ResultBackend | StemURL | Unset | None
GivenSigner: TypeAlias = Signer | StemURL | Unset | None

T = TypeVar("T")

_log = logging.getLogger("stem.producer")


_reported: Final[set[str]] = set()


def _report(sentence: str) -> None:
    """Log what an operator should read at start, once for all lanes of this process."""
    if sentence not in _reported:
        _reported.add(sentence)
        _log.warning("%s", sentence)


def _as_it_is(broker: Broker) -> Broker:
    return broker


@frozen(kw_only=True)
class Wiring:
    """What a Stem was given, before anything is resolved.

    Attributes:
        wrap: what stands around every broker.
        report: takes what an operator should read at start.
    """

    broker: GivenBroker
    backend: GivenBackend
    signer: GivenSigner
    routes: Routes | None
    middleware: tuple[Middleware, ...]
    clock: Clock
    dice: Dice
    wrap: Callable[[Broker], Broker] = _as_it_is
    report: Callable[[str], None] = _report


@frozen(kw_only=True)
class Runtime:
    """What a Stem runs on.

    Attributes:
        pipeline: makes and opens messages.
        lanes: carry them.
        observers: are told what happens.
        check_result: raises for a record that nobody vouches for, where somebody must.
        clock, dice: of everything in it.
    """

    pipeline: Pipeline
    lanes: Lanes
    observers: Observers
    check_result: Callable[[Record], None]
    clock: Clock
    dice: Dice

    def until(self) -> float:
        """Return the deadline of what begins now, in the time of the loop that runs."""
        return self.lanes.opening.patience.until()

    async def lane(self, until: float | None = None) -> Lane:
        """Return the lane of the loop that runs; connects on first use, before *until*."""
        lane = await self.lanes.open(until)
        self.pipeline.serve(lane.capabilities)
        return lane


def build(
    given: Wiring, config: StemConfig, registry: TaskRegistry, plugins: PluginHost
) -> Runtime:
    """Return the runtime of *given*, or say what is wrong with it. Connects to nothing.

    Raises:
        ConfigError, PluginError: a URL, a key or a plugin.
    """
    info = AppInfo(namespace=config.namespace, tasks=registry.names())
    context = PluginContext(
        namespace=config.namespace,
        tls=config.tls,
        clock=given.clock,
        dice=given.dice,
        report=given.report,
        strict=config.strict,
    )
    broker = _broker(given.broker, config)
    backend = _backend(given.backend, broker, config, plugins)
    signer = signer_of(given.signer, config, plugins, context)
    check_results(config.signing_results, signer)
    patience = Patience(deadline_ms=config.publish_deadline_ms, clock=given.clock, dice=given.dice)
    opening = Opening(
        plugins=plugins,
        context=evolve(context, results=backend if isinstance(backend, StemURL) else None),
        broker=broker,
        backend=backend,
        patience=patience,
        wrap=given.wrap,
    )
    return Runtime(
        pipeline=Pipeline(
            config,
            registry,
            routes=given.routes,
            middleware=(*given.middleware, *plugins.middleware(info)),
            signer=signer,
            clock=given.clock,
            dice=given.dice,
        ),
        lanes=Lanes(opening),
        observers=Observers(plugins.observers(info)),
        check_result=verifier(config.signing_results, signer, config.namespace),
        clock=given.clock,
        dice=given.dice,
    )


def _broker(given: GivenBroker, config: StemConfig) -> Broker | StemURL:
    if isinstance(given, Broker):
        return given
    url = given or config.broker_url
    if url is None:
        raise MissingSetting(
            "there is no broker: STEM_BROKER_URL is not set, and Stem() was given none",
            way_out='Example: STEM_BROKER_URL=sqlite:///tasks.db, or Stem("sqlite:///tasks.db"): '
            "one file for all processes of a machine. `stem plugins` lists what else there is.",
        )
    check_tls(url, config.tls, source="broker" if given else "STEM_BROKER_URL")
    return url


def _backend(
    given: GivenBackend, broker: Broker | StemURL, config: StemConfig, plugins: PluginHost
) -> ResultBackend | StemURL | None:
    if given is UNSET:
        return _own_backend(broker, config, plugins)
    if isinstance(given, StemURL):
        check_tls(given, config.tls, source="backend")
    return given


def _own_backend(
    broker: Broker | StemURL, config: StemConfig, plugins: PluginHost
) -> StemURL | None:
    """Return the backend that the environment names, else the broker's own store."""
    if config.result_backend_url is not None:
        check_tls(config.result_backend_url, config.tls, source="STEM_RESULT_BACKEND_URL")
        return config.result_backend_url
    if isinstance(broker, StemURL) and plugins.offers("backend", broker.scheme):
        return broker
    return None


def check_schemes(runtime: Runtime, plugins: PluginHost) -> None:
    """Raise what is wrong with a scheme that nobody opens, before anything is opened."""
    opening = runtime.lanes.opening
    broker, backend = opening.broker, opening.backend
    if isinstance(broker, StemURL) and not plugins.offers("broker", broker.scheme):
        plugins.show(broker.scheme)
    if isinstance(backend, StemURL) and not plugins.offers("backend", backend.scheme):
        plugins.show(backend.scheme)


def parsed(given: T | str, source: str) -> T | StemURL:
    """Return a text as the URL that it is, anything else that can stand there as it is.

    Raises:
        InvalidURL: names *source*, and never repeats a secret.
        ConfigError: it is neither a URL nor a *source*.
    """
    if isinstance(given, str):
        return StemURL.parse(given, source=source)
    kind = _KINDS[source]
    if given is None or isinstance(given, (kind, StemURL, Unset)):
        return given
    what = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
    raise ConfigError(
        f"{source}= takes a URL or a {kind.__name__}, got {what}",
        way_out=f"Example: {_EXAMPLES[source]}.",
    )


_KINDS: Final = MappingProxyType({"broker": Broker, "backend": ResultBackend, "signer": Signer})
_EXAMPLES: Final = MappingProxyType(
    {
        "broker": 'Stem("memory://")',
        "backend": 'Stem("memory://", backend="memory://results")',
        "signer": "Stem(signer=PayloadSigner.maybe(config.signing))",
    }
)
