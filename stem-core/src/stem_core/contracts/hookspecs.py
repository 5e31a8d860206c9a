"""The whole pluggy surface: what a plugin may implement.

A plugin is a thin module that imports nothing heavy; the factories and option
classes that it offers are named by text and imported when a URL asks for them.
Hooks get frozen values, never the application. pluggy is on the cold path only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import pluggy
from attrs import field, frozen

from stem_core.contracts.clock import SYSTEM_CLOCK, SYSTEM_DICE, Clock, Dice
from stem_core.model.settings import TlsConfig
from stem_core.model.urls import StemURL

if TYPE_CHECKING:
    from stem_core.contracts.backend import ResultBackend
    from stem_core.contracts.broker import Broker
    from stem_core.contracts.observer import Observer
    from stem_core.contracts.signer import Signer
    from stem_core.model.envelope import Envelope

__all__ = [
    "PLUGIN_API",
    "AppInfo",
    "BackendFactory",
    "BackendSpec",
    "BrokerFactory",
    "BrokerSpec",
    "CommandSpec",
    "HealthCheck",
    "Middleware",
    "PluginContext",
    "SignerFactory",
    "SignerSpec",
    "Spec",
    "hookimpl",
    "hookspec",
]

PROJECT: Final = "stem"
PLUGIN_API: Final = (1, 0)
"""Version of `stem_core.plugin` as a whole. A plugin fits when its major is equal and
its minor not above."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@frozen(kw_only=True)
class Spec:
    """“I can open URLs of these schemes.”

    Attributes:
        schemes: base schemes, lower case; the same as the entry-point names.
        factory: ``module:Class``; its ``open(url, options, context)`` is an async class method:
            see `BrokerFactory`, `BackendFactory`, `SignerFactory`.
        options: ``module:Class`` of the attrs class of URL query options; empty for none.
        variants: what may stand behind a ``+`` in the scheme.
        summary: one line for `stem plugins`.
        examples: URLs that work.
    """

    schemes: tuple[str, ...]
    factory: str
    options: str = ""
    variants: tuple[str, ...] = ()
    summary: str = ""
    examples: tuple[str, ...] = ()


@frozen(kw_only=True)
class BrokerSpec(Spec):
    """A broker that URLs can open."""


@frozen(kw_only=True)
class BackendSpec(Spec):
    """A result backend that URLs can open."""


@frozen(kw_only=True)
class SignerSpec(Spec):
    """A signer that URLs can open; its ``open`` is a plain class method, for it does no I/O
    beyond reading its keys."""


@frozen(kw_only=True)
class PluginContext:
    """What a factory needs beside its URL and options.

    Attributes:
        namespace: prefix of everything that is stored.
        tls: TLS settings; a factory without TLS refuses enabled ones.
        clock, dice: where time and chance come from; for a store without a clock of its own
            this is the broker's own clock.
        role: ``signer`` for a signer; a producer and a worker of one program share their
            handles, which are opened as ``producer``. The others are reserved.
        report: called with one sentence that an operator should read at start.
        environment: for signers that read keys by name; empty otherwise.
        results: the URL of the result backend that stands beside a broker, if it has one: a
            broker that can write there in its own step declares the same `store_id`.
        strict: refuse what is otherwise only reported, such as a key file that others may read.
    """

    namespace: str = "stem"
    tls: TlsConfig = field(factory=TlsConfig)
    clock: Clock = SYSTEM_CLOCK
    dice: Dice = SYSTEM_DICE
    role: Literal["producer", "worker", "admin", "signer"] = "producer"
    report: Callable[[str], None] = field(default=lambda _: None, repr=False)
    environment: Mapping[str, str] = field(factory=dict, repr=False)
    results: StemURL | None = None
    strict: bool = False


@frozen(kw_only=True)
class AppInfo:
    """What a hook may know of the application."""

    namespace: str
    tasks: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    role: Literal["producer", "worker"] = "producer"


class BrokerFactory(Protocol):
    """What the `factory` of a `BrokerSpec` is: a class, or an object, with this method."""

    async def open(self, url: StemURL, options: Any, context: PluginContext, /) -> Broker:
        """Open *url*; *options* is an instance of the spec's options class, or None."""
        ...


class BackendFactory(Protocol):
    """What the `factory` of a `BackendSpec` is; see `BrokerFactory`."""

    async def open(
        self, url: StemURL, options: Any, context: PluginContext, /
    ) -> ResultBackend | None:
        """Open *url*; None only for a scheme that means "no backend"."""
        ...


class SignerFactory(Protocol):
    """What the `factory` of a `SignerSpec` is; see `BrokerFactory`. Its ``open`` is not awaited."""

    def open(self, url: StemURL, options: Any, context: PluginContext, /) -> Signer | None:
        """Open *url*; None only for a scheme that means "unsigned on purpose"."""
        ...


@frozen(kw_only=True)
class CommandSpec:
    """A command of the `stem` program: ``module:attribute`` of a click command."""

    name: str
    target: str
    summary: str = ""


@frozen(kw_only=True)
class HealthCheck:
    """A named question that answers with an empty text when all is well."""

    name: str
    check: Callable[[], Awaitable[str]]


class Middleware:
    """Sees every new envelope before it is encoded and signed, and may return another one.

    Subclass and override; each method has a body that changes nothing.
    """

    def on_enqueue(self, envelope: Envelope) -> Envelope:
        """Return *envelope*, or a copy changed by `replace`.

        Raising refuses the call: the caller sees that very error, an `EnqueueError` or
        other `StemError` as well as one of your own, and nothing is published.
        """
        return envelope


@hookspec
def stem_register_brokers() -> Sequence[BrokerSpec]:
    """Offer brokers."""
    raise NotImplementedError


@hookspec
def stem_register_backends() -> Sequence[BackendSpec]:
    """Offer result backends."""
    raise NotImplementedError


@hookspec
def stem_register_signers() -> Sequence[SignerSpec]:
    """Offer signers."""
    raise NotImplementedError


@hookspec(firstresult=True)
def stem_open_broker(
    spec: BrokerSpec, url: StemURL, options: Any, context: PluginContext
) -> Awaitable[Broker] | None:
    """Open the broker that *url* names. The host's own implementation runs last and calls the
    spec's factory; a wrapper (`hookimpl(wrapper=True)`) may stand around it and return another
    awaitable of a broker."""
    raise NotImplementedError


@hookspec(firstresult=True)
def stem_open_backend(
    spec: BackendSpec, url: StemURL, options: Any, context: PluginContext
) -> Awaitable[ResultBackend | None] | None:
    """Open the result backend that *url* names; see `stem_open_broker`. The awaitable gives
    None for a scheme that means "no backend" (``none://``)."""
    raise NotImplementedError


@hookspec(firstresult=True)
def stem_open_signer(
    spec: SignerSpec, url: StemURL, options: Any, context: PluginContext
) -> Signer | None:
    """Open the signer that *url* names; see `stem_open_broker`. Not awaited; None means
    unsigned on purpose (``none://``)."""
    raise NotImplementedError


@hookspec
def stem_middleware(app: AppInfo) -> Sequence[Middleware]:
    """Offer middleware, applied in the order of registration, after the application's own."""
    raise NotImplementedError


@hookspec
def stem_observers(app: AppInfo) -> Sequence[Observer]:
    """Offer observers; collected once, when the application starts."""
    raise NotImplementedError


@hookspec
def stem_health_checks(app: AppInfo) -> Sequence[HealthCheck]:
    """Offer health checks, for `PluginHost.health_checks`. No command asks them yet."""
    raise NotImplementedError


@hookspec
def stem_commands() -> Sequence[CommandSpec]:
    """Offer commands of the `stem` program."""
    raise NotImplementedError


@hookspec(firstresult=True)
def stem_url_hint(kind: str, scheme: str) -> str | None:
    """Say in one sentence how to get a plugin for *scheme*, or None."""
    raise NotImplementedError
