"""Making a loaded plugin active: API version, hooks, specs, each checked before the next.

Rule of this module: a plugin is active as a whole or not at all, and its own hooks
are called one plugin at a time, so that the one that fails is known.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs
import pluggy
from attrs import frozen

from stem_core.contracts import hookspecs
from stem_core.contracts.hookspecs import PLUGIN_API, PROJECT, Spec, hookimpl
from stem_core.discovery import explain
from stem_core.discovery.candidate import Kind, Origin
from stem_core.discovery.loading import LoadFailed, diverted, guarded, load, load_and_listen

__all__ = ["REGISTER_HOOKS", "Active", "ActivePlugins", "Offer", "load_for", "options_class"]

REGISTER_HOOKS: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        "broker": "stem_register_brokers",
        "backend": "stem_register_backends",
        "signer": "stem_register_signers",
    }
)
_SPECS: Final[Mapping[Kind, type[Spec]]] = MappingProxyType(
    {
        "broker": hookspecs.BrokerSpec,
        "backend": hookspecs.BackendSpec,
        "signer": hookspecs.SignerSpec,
    }
)
_SCHEME: Final = re.compile(r"[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)?")
_TARGET: Final = re.compile(r"[^:\s]+:[^:\s]+")


@frozen(kw_only=True)
class Active:
    """A plugin that is loaded, fits, and is registered.

    Attributes:
        origin: where it comes from.
        plugin: the module or object with the hooks.
        prints: True if it wrote to standard output while it was imported.
    """

    origin: Origin
    plugin: Any
    prints: bool = False

    @property
    def api(self) -> str:
        """The plugin API it was written for."""
        return ".".join(map(str, self.plugin.STEM_PLUGIN_API))


@frozen(kw_only=True)
class Offer:
    """One spec of an active plugin: what opens a URL."""

    kind: Kind
    spec: Spec
    active: Active


class ActivePlugins:
    """The plugins that are in use, sharing one pluggy manager. Not thread-safe."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._manager.register(Opener(), name="stem_core.discovery")
        self._by_origin: dict[Origin, Active] = {}

    @property
    def hook(self) -> pluggy.HookRelay:
        """The hooks of all plugins together; wrappers stand around the others."""
        return self._manager.hook

    def __iter__(self) -> Iterator[Active]:
        """Each plugin once, in the order of registration."""
        once: dict[int, Active] = {}
        for active in self._by_origin.values():
            once.setdefault(id(active.plugin), active)
        return iter(tuple(once.values()))

    def find(self, origin: Origin) -> Active | None:
        """Return the active plugin that comes from *origin*."""
        return self._by_origin.get(origin)

    def activate(self, origin: Origin) -> Active:
        """Import the plugin at *origin*, once, and make it active."""
        active = self._by_origin.get(origin)
        if active is not None:
            return active
        try:
            plugin, prints = load_and_listen(origin.module)
        except LoadFailed as failed:
            raise explain.load_failed(origin, failed.cause) from failed.cause
        return self.admit(Active(origin=origin, plugin=plugin, prints=prints))

    def admit(self, active: Active) -> Active:
        """Make *active* so. After an error nothing of it is left behind.

        A plugin that is here already, from another origin, keeps its place among the hooks.
        """
        try:
            if all(one.plugin is not active.plugin for one in self):
                guarded(lambda: self._admit(active))
        except LoadFailed as failed:
            self._forget(active)
            raise explain.load_failed(active.origin, failed.cause) from failed.cause
        except BaseException:
            self._forget(active)
            raise
        self._by_origin[active.origin] = active
        return active

    def expel(self, active: Active) -> None:
        """Undo `admit`."""
        if self._by_origin.pop(active.origin, None) is not None:
            self._forget(active)

    def ask(self, active: Active, hook: str, **facts: Any) -> Any:
        """Return what this one plugin answers to *hook*; None if it does not implement it."""
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            if implementation.plugin is active.plugin and not (
                implementation.wrapper or implementation.hookwrapper
            ):
                arguments = [facts[name] for name in implementation.argnames]
                return self._call(active, implementation.function, arguments)
        return None

    def offers(self, active: Active, kind: Kind) -> list[Offer]:
        """Return the specs of *kind* that the plugin registers, checked."""
        hook = REGISTER_HOOKS[kind]
        answer = self.ask(active, hook)
        if answer is None:
            return []
        if not isinstance(answer, list | tuple):
            raise explain.rejected(
                active.origin, f"{hook} returned {type(answer).__name__}, not a list"
            )
        for spec in answer:
            _check(active.origin, hook, spec, _SPECS[kind])
        schemes = [scheme for spec in answer for scheme in spec.schemes]
        twice = sorted({scheme for scheme in schemes if schemes.count(scheme) > 1})
        if twice:
            raise explain.rejected(active.origin, f"{hook} offers {', '.join(twice)} twice")
        return [Offer(kind=kind, spec=spec, active=active) for spec in answer]

    def _admit(self, active: Active) -> None:
        declared = getattr(active.plugin, "STEM_PLUGIN_API", None)
        if not explain.is_version(declared) or not _fits(declared):
            raise explain.api_mismatch(active.origin, declared)
        # Known by its origin, so that two schemes of one module are one plugin.
        self._manager.register(active.plugin, name=str(active.origin))
        hooks = {
            name: caller
            for name, caller in vars(self._manager.hook).items()
            if not name.startswith("_")
        }
        specified = {name for name, caller in hooks.items() if caller.has_spec()}
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError:
            unknown = {
                name
                for name, caller in hooks.items()
                if name not in specified
                and any(one.plugin is active.plugin for one in caller.get_hookimpls())
            }
            raise explain.unknown_hook(active.origin, unknown, specified) from None

    def _forget(self, active: Active) -> None:
        # pluggy before 1.7 keeps half of a plugin that it refused.
        if self._manager.get_plugin(str(active.origin)) is active.plugin:
            self._manager.unregister(name=str(active.origin))

    def _call(self, active: Active, function: Any, arguments: list[Any]) -> Any:
        try:
            with diverted():
                return guarded(lambda: function(*arguments))
        except LoadFailed as failed:
            name = getattr(function, "__name__", "a hook")
            why = f"{name} failed: {explain.cause_of(failed.cause)}"
            raise explain.rejected(active.origin, why) from failed.cause


def load_for(origin: Origin, target: str) -> Any:
    """Return the object at *target*, which the plugin from *origin* names."""
    try:
        return load(target)
    except LoadFailed as failed:
        raise explain.load_failed(origin, failed.cause) from failed.cause


def options_class(offer: Offer) -> type | None:
    """Return the attrs class of URL parameters; None if the plugin takes none."""
    if not offer.spec.options:
        return None
    found = load_for(offer.active.origin, offer.spec.options)
    if not isinstance(found, type) or not attrs.has(found):
        why = f"its options {offer.spec.options} are no attrs class"
        raise explain.rejected(offer.active.origin, why)
    return found


class Opener:
    """Opens what no plugin opened: the end of the line, inside of every wrapper."""

    @hookimpl(trylast=True)
    def stem_open_broker(self, spec: Spec, url: Any, options: Any, context: Any) -> Any:
        """Return an awaitable of the broker."""
        return _Opening(spec, url, options, context)

    @hookimpl(trylast=True)
    def stem_open_backend(self, spec: Spec, url: Any, options: Any, context: Any) -> Any:
        """Return an awaitable of the backend."""
        return _Opening(spec, url, options, context)

    @hookimpl(trylast=True)
    def stem_open_signer(self, spec: Spec, url: Any, options: Any, context: Any) -> Any:
        """Return the signer."""
        return load(spec.factory).open(url, options, context)


class _Opening:
    """Opens when it is awaited: a wrapper that never awaits it leaves nothing half open."""

    def __init__(self, spec: Spec, url: Any, options: Any, context: Any) -> None:
        self._factory = spec.factory
        self._arguments = (url, options, context)

    def __await__(self) -> Any:
        opening = load(self._factory).open(*self._arguments)
        if not inspect.isawaitable(opening):
            raise TypeError(f"{self._factory}.open is not an async class method")
        return opening.__await__()


def _fits(declared: tuple[int, int]) -> bool:
    return declared[0] == PLUGIN_API[0] and declared[1] <= PLUGIN_API[1]


def _check(origin: Origin, hook: str, spec: object, wanted: type[Spec]) -> None:
    """Refuse a spec that cannot work, before anything relies on it."""
    if not isinstance(spec, wanted):
        why = f"offers {type(spec).__name__}, not {wanted.__name__}"
    elif not spec.schemes:
        why = "offers a spec without schemes"
    elif bad := [scheme for scheme in spec.schemes if not _SCHEME.fullmatch(scheme)]:
        why = f"offers {bad[0]!r}, which is no scheme: lower case, a letter first"
    elif not all(_TARGET.fullmatch(target) for target in (spec.factory, spec.options or "-:-")):
        why = f"names {spec.factory!r} and {spec.options!r}, which must be module:Class"
    else:
        return
    raise explain.rejected(origin, f"{hook} {why}")
