"""The plugin host: opens what URLs name, and collects what plugins offer.

Rule of this module: a question about a scheme touches the plugin of that scheme and
no other. pluggy is on the way of opening, never on the way of a message.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

import attrs

from stem_core.contracts.backend import ResultBackend
from stem_core.contracts.broker import Broker
from stem_core.contracts.hookspecs import (
    AppInfo,
    CommandSpec,
    HealthCheck,
    Middleware,
    PluginContext,
)
from stem_core.contracts.observer import Event, Observer
from stem_core.contracts.signer import Signer
from stem_core.discovery import explain
from stem_core.discovery.activation import Offer, load_for, options_class
from stem_core.discovery.candidate import ALIASES, Kind, Origin
from stem_core.discovery.index import EntryPoints, Given, Index, Installed
from stem_core.discovery.loading import LoadFailed
from stem_core.discovery.resolve import Resolver
from stem_core.discovery.settings import PluginSettings
from stem_core.model.errors import PluginError, StemError
from stem_core.model.urls import StemURL

if TYPE_CHECKING:
    from stem_core.discovery.table import PluginRow, SchemeInfo

__all__ = ["PluginHost"]

NOTHING: Final = "none"
"""The one scheme that may open to nothing: a signer that fails must not look like no signer."""


class PluginHost:
    """Finds plugins by scheme, loads the ones that are asked for, and explains the rest.

    Threads and event loops may share it; what it opens belongs to who opened it.
    """

    def __init__(
        self,
        settings: PluginSettings | None = None,
        *,
        entry_points: EntryPoints | None = None,
    ) -> None:
        """Know nothing yet: metadata are read when the first question is asked.

        Without *entry_points*, which takes the name of a group, what is installed counts.
        """
        self._settings = PluginSettings() if settings is None else settings
        self._metadata = Installed() if entry_points is None else Given(entry_points)
        self._resolver = Resolver(self._settings, Index(self._settings, self._metadata))

    def register(self, plugin: object, *, name: str | None = None) -> None:
        """Use *plugin*, a module or an object with hooks; what it offers wins over all else.

        It is checked at once, like every plugin: `STEM_PLUGIN_API`, hooks, specs.
        """
        self._resolver.register(plugin, name)

    # ── opening ──────────────────────────────────────────────────────────────

    async def open_broker(self, url: StemURL, context: PluginContext) -> Broker:
        """Open the broker that *url* names.

        Raises:
            PluginError: its plugin is absent, ambiguous or broken.
            ConfigError: a variant, a parameter or a setting is wrong.
            StoreError: the store cannot be reached.
        """
        offer, broker = await self._open_store("broker", "stem_open_broker", url, context)
        if isinstance(broker, Broker):
            return broker
        raise _opened_to(broker, "Broker", offer)

    async def open_backend(self, url: StemURL, context: PluginContext) -> ResultBackend | None:
        """Open the result backend that *url* names; None for ``none://``, and only then."""
        offer, backend = await self._open_store("backend", "stem_open_backend", url, context)
        if isinstance(backend, ResultBackend) or (backend is None and url.scheme == NOTHING):
            return backend
        raise _opened_to(backend, "ResultBackend", offer)

    def open_signer(self, url: StemURL, context: PluginContext) -> Signer | None:
        """Open the signer that *url* names; None for ``none://``, and only then."""
        offer, url, options = self._prepare("signer", url)
        with _blaming(offer, url):
            signer = self._resolver.active.hook.stem_open_signer(
                spec=offer.spec, url=url, options=options, context=context
            )
        if isinstance(signer, Signer) or (signer is None and url.scheme == NOTHING):
            return signer
        if inspect.iscoroutine(signer):
            signer.close()  # an async `open`: say what is wrong, not that it was never awaited
        raise _opened_to(signer, "Signer", offer)

    def offers(self, kind: Kind, scheme: str) -> bool:
        """Return whether a plugin claims to open *scheme*, which may have a ``+variant``.

        Imports no plugin but those that `STEM_PLUGINS` names.
        """
        base, _, variant = scheme.lower().partition("+")
        return self._resolver.is_offered(kind, base, variant)

    def check_url(self, kind: Kind, url: StemURL) -> None:
        """Refuse at once what opening *url* would refuse: scheme, variant, parameters.

        Imports its plugin and options, not its factory, and connects to nothing.

        Raises:
            PluginError: its plugin is absent, ambiguous or broken.
            ConfigError: a variant or a parameter is wrong.
        """
        self._prepare(kind, url)

    def shown(self, kind: Kind, url: StemURL) -> str:
        """Return *url* as text for people, with the values of parameters that its plugin takes and
        that are no secrets. Without a plugin that opens it, without any.

        Imports its plugin and options, not its factory, and connects to nothing.
        """
        try:
            return url.redacted(options_class(self._resolver.resolve(kind, url)))
        except PluginError:
            return url.redacted()

    # ── always-on hooks ──────────────────────────────────────────────────────

    def middleware(self, info: AppInfo) -> tuple[Middleware, ...]:
        """Return the middleware of all active plugins, in the order of registration.

        A plugin that fails here is an error: without its middleware, messages would differ.
        """
        return tuple(self._collect("stem_middleware", Middleware, info, needed=True))

    def observers(self, info: AppInfo) -> tuple[Observer, ...]:
        """Return the observers of all active plugins; one that fails is warned about."""
        return tuple(self._collect("stem_observers", _HasOnEvent, info))

    def health_checks(self, info: AppInfo) -> tuple[HealthCheck, ...]:
        """Return the health checks of all active plugins; one that fails is warned about."""
        return tuple(self._collect("stem_health_checks", HealthCheck, info))

    def commands(self) -> tuple[CommandSpec, ...]:
        """Return the commands that plugins add, by name; imports none of them.

        They come from entry points in `stem.commands`, and from the `stem_commands` hook
        of what is registered or named by `STEM_PLUGINS`. A name that two claim is left
        out with a warning, unless `STEM_PLUGINS_PREFER` decides.
        """
        found = {spec.name: spec for spec in self._named_commands()}
        index = self._resolver.index
        for name in index.names("command"):
            try:
                candidate = index.choose("command", name)
            except PluginError as error:
                self._resolver.warn(error)
                continue
            if candidate is not None:
                origin = candidate.origin
                spec = CommandSpec(name=name, target=origin.module, summary=f"from {origin.name}")
                found.setdefault(name, spec)
        return tuple(found[name] for name in sorted(found))

    def load_command(self, spec: CommandSpec) -> Any:
        """Import the command that *spec* names.

        Raises:
            PluginBroken: it failed; whatever it did, it did not end this process.
        """
        by_hand = Origin(module=spec.target, way="register()")
        named = self._resolver.index.named("command", spec.name)
        origins = (one.origin for one in named if one.origin.module == spec.target)
        return load_for(next(origins, by_hand), spec.target)

    # ── what there is ────────────────────────────────────────────────────────

    def rows(self) -> Sequence[PluginRow]:
        """Return one row for everything that is installed or registered; imports nothing."""
        from stem_core.discovery import table  # only listings need it

        return table.rows(self._resolver)

    def check(self) -> Sequence[PluginRow]:
        """Return the rows of `rows` after importing each plugin, with factory and options.

        Each is tried on its own and apart from this host: whatever fails is in its row,
        and nothing becomes active.
        """
        from stem_core.discovery import table

        return table.checked(self._resolver)

    def checks(self, start: int = 0) -> Iterator[PluginRow]:
        """Yield the rows of `check` from the 0-based *start* on, each as soon as it is tried."""
        from stem_core.discovery import table

        return table.checks(self._resolver, start)

    def show(self, scheme: str) -> Sequence[SchemeInfo]:
        """Return what the plugins of *scheme* say of themselves, one for each kind.

        Raises:
            PluginError: there is none, or it is broken.
        """
        from stem_core.discovery import table

        base, _, variant = scheme.lower().partition("+")
        return table.shown(self._resolver, base, variant)

    # ── pieces ───────────────────────────────────────────────────────────────

    async def _open_store(
        self, kind: Kind, hook: str, url: StemURL, context: PluginContext
    ) -> tuple[Offer, object]:
        offer, url, options = self._prepare(kind, url)
        with _blaming(offer, url):
            opening = getattr(self._resolver.active.hook, hook)(
                spec=offer.spec, url=url, options=options, context=context
            )
            if not inspect.isawaitable(opening):
                raise TypeError(f"{hook} gave {type(opening).__name__}, which cannot be awaited")
            return offer, await opening

    def _prepare(self, kind: Kind, url: StemURL) -> tuple[Offer, StemURL, Any]:
        """Return who opens *url*, the URL with its proper scheme, and its options."""
        offer = self._resolver.resolve(kind, url)
        url = attrs.evolve(url, scheme=ALIASES.get(url.scheme, url.scheme))
        return offer, url, _options(offer, url)

    def _collect(
        self, hook: str, contract: type, info: AppInfo, *, needed: bool = False
    ) -> Iterator[Any]:
        """Yield what all active plugins answer to *hook*, checked."""
        self._resolver.prepare()
        for active in self._resolver.active:
            try:
                answer = self._resolver.active.ask(active, hook, app=info)
                yield from _several(active.origin, hook, answer, contract)
            except PluginError as error:
                if needed:
                    raise
                self._resolver.warn(error)

    def _named_commands(self) -> Iterator[CommandSpec]:
        try:
            self._resolver.load_named()
        except PluginError as error:
            self._resolver.warn(error)
        for active in self._resolver.active:
            try:
                answer = self._resolver.active.ask(active, "stem_commands")
                yield from _several(active.origin, "stem_commands", answer, CommandSpec)
            except PluginError as error:
                self._resolver.warn(error)


@runtime_checkable
class _HasOnEvent(Protocol):
    """What can be checked of an observer."""

    def on_event(self, event: Event, /) -> None: ...


def _several(origin: Origin, hook: str, answer: Any, contract: type) -> list[Any]:
    """Return *answer* as a list, or say whose fault it is that it is none."""
    if answer is None:
        return []
    if not isinstance(answer, list | tuple):
        raise explain.rejected(origin, f"{hook} returned {type(answer).__name__}, not a list")
    for one in answer:
        if not isinstance(one, contract):
            raise explain.rejected(
                origin, f"{hook} offers {type(one).__name__}, not {contract.__name__}"
            )
    return list(answer)


def _opened_to(opened: object, contract: str, offer: Offer) -> PluginError:
    why = f"opening {offer.spec.schemes[0]}:// gave {type(opened).__name__}, not a {contract}"
    return explain.rejected(offer.active.origin, why)


def _options(offer: Offer, url: StemURL) -> Any:
    """Return the parameters of *url* as the options class of its plugin; None if it has none."""
    options = options_class(offer)
    if options is None:
        if url.query:
            raise explain.no_parameters(offer.kind, url)
        return None
    from stem_core.model.structure import options_from_query  # few URLs have options

    return options_from_query(
        options, url.query, source=f"{offer.kind} URL", redacted_url=url.redacted(options)
    )


@contextmanager
def _blaming(offer: Offer, url: StemURL) -> Iterator[None]:
    """Turn what is no error of ours into one that names the plugin and hides the secrets."""
    origin = offer.active.origin
    try:
        yield
    except StemError:
        raise
    except LoadFailed as failed:
        raise explain.load_failed(origin, failed.cause) from failed.cause
    except (Exception, SystemExit) as cause:  # third-party code
        error = explain.open_failed(offer.kind, origin, url, cause)
        # A driver's error may repeat the URL in its text or in the frames below it.
        raise error from (None if explain.may_hold_secret(offer.kind, url) else cause)
