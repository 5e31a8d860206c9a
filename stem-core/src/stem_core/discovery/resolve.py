"""From a scheme to the one plugin that opens it.

The order: what the application registered, what `STEM_PLUGINS` names, then the one
entry point that is left after `STEM_PLUGINS_DISABLE` and `STEM_PLUGINS_PREFER`; two
that are left are an error. Rule of this module: nothing is chosen by chance.
"""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any, Final

from stem_core.discovery import explain
from stem_core.discovery.activation import REGISTER_HOOKS, Active, ActivePlugins, Offer
from stem_core.discovery.candidate import (
    GROUPS,
    KINDS,
    Candidate,
    Kind,
    Origin,
    lookup_names,
)
from stem_core.discovery.forklock import ForkSafeLock
from stem_core.discovery.index import Index
from stem_core.discovery.settings import PluginSettings
from stem_core.model.errors import PluginConflict, PluginError
from stem_core.model.urls import StemURL

__all__ = ["Resolver"]

logger: Final = logging.getLogger("stem.plugins")


class Resolver:
    """What is installed, what is active, and what was registered by hand.

    Threads may share it: whatever activates a plugin holds one lock.
    """

    def __init__(self, settings: PluginSettings, index: Index) -> None:
        self.settings: Final = settings
        self.index: Final = index
        self.active: Final = ActivePlugins()
        self._explicit: dict[tuple[Kind, str], Offer] = {}
        self._lock = ForkSafeLock()
        self._prepared = False
        self._told: set[str] = set()

    @property
    def explicit(self) -> dict[tuple[Kind, str], Offer]:
        """What was registered or named by module; wins over every entry point."""
        return dict(self._explicit)

    def register(self, plugin: object, name: str | None) -> None:
        """Make *plugin* active and let it win; the same object twice is registered once."""
        with self._lock:
            registered = [one for one in self.active if one.origin.way == "register()"]
            if any(one.plugin is plugin for one in registered):
                return
            taken = {one.origin.module for one in registered}
            if name in taken:
                raise PluginConflict(f"a plugin is registered as {name!r} already")
            origin = Origin(module=name or _fresh_name(plugin, taken), way="register()")
            self._claim(self.active.admit(Active(origin=origin, plugin=plugin)))

    def prepare(self) -> None:
        """Activate what is asked for by name and what is always on; once.

        A module of `STEM_PLUGINS` that fails is an error: somebody asked for it. An
        always-on plugin that fails is a warning.
        """
        with self._lock:
            self.load_named()
            if self._prepared:
                return
            for text in self.index.without_effect():
                self.warn(PluginError(text))
            for candidate in self.index.enabled("hooks"):
                try:
                    self.activate(candidate.origin)
                except PluginError as error:
                    self.warn(error)
            self._prepared = True

    def load_named(self) -> None:
        """Activate the modules of `STEM_PLUGINS`."""
        with self._lock:
            for module in self.settings.modules:
                origin = Origin(module=module, way="STEM_PLUGINS")
                if self.active.find(origin) is None:
                    self._claim(self.activate(origin))

    def resolve(self, kind: Kind, url: StemURL) -> Offer:
        """Return what opens *url*, with its variant checked.

        Raises:
            PluginError: nothing opens it; the message says what to do.
            InvalidURL: its plugin does not know the variant.
        """
        with self._lock:
            self.prepare()
            found = self.find(kind, url.scheme, url.variant)
            if found is None:
                raise self.nobody(kind, url.scheme, url.variant)
            name, offer = found
            if url.variant and "." not in name and url.variant not in offer.spec.variants:
                raise explain.unknown_variant(kind, offer.spec, url)
            return offer

    def find(self, kind: Kind, scheme: str, variant: str = "") -> tuple[str, Offer] | None:
        """Return the name under which something opens this, and the offer; None if nothing does."""
        with self._lock:
            names = _names(scheme, variant)
            for name in names:
                if (kind, name) in self._explicit:
                    return name, self._explicit[kind, name]
            for name in names:
                candidate = self.index.choose(kind, name)
                if candidate is not None:
                    return name, self.offer(kind, candidate)
            return None

    def is_offered(self, kind: Kind, scheme: str, variant: str = "") -> bool:
        """Return whether something claims to open this; imports no entry point."""
        self.load_named()
        return any(
            (kind, name) in self._explicit or self.index.enabled(kind, name)
            for name in _names(scheme, variant)
        )

    def could_have(self, kind: Kind, scheme: str, variant: str = "") -> bool:
        """Return whether something that is switched off, or not installed, opens this."""
        return any(self.index.named(kind, name) for name in _names(scheme, variant)) or bool(
            explain.first_party_hint(kind, scheme, self.index.version_of)
        )

    def nobody(self, kind: Kind, scheme: str, variant: str = "") -> PluginError:
        """Return the error that says why nothing opens this, and how to get what would."""
        for name in _names(scheme, variant):
            for candidate in self.index.named(kind, name):
                why = self.index.why_off(candidate)
                return explain.disabled(kind, scheme, candidate.origin, why)
        installed = self.schemes(kind)
        hint = self._hint(kind, scheme, installed)
        return explain.unknown_scheme(kind, scheme, hint, installed=installed)

    def schemes(self, kind: Kind) -> list[str]:
        """Return the schemes that *kind* can be asked for, sorted."""
        explicit = {name for of, name in self._explicit if of == kind}
        return sorted(explicit.union(self.index.names(kind)))

    def offer(self, kind: Kind, candidate: Candidate) -> Offer:
        """Activate *candidate* and return what it offers under its name."""
        with self._lock:
            fresh = self.active.find(candidate.origin) is None
            active = self.activate(candidate.origin)
            try:
                return self._offer(kind, candidate, active)
            except PluginError:
                if fresh:
                    self.active.expel(active)
                raise

    def activate(self, origin: Origin) -> Active:
        """Return the plugin at *origin*, active."""
        with self._lock:
            known = self.active.find(origin)
            if known is not None:
                return known
            active = self.active.activate(origin)
            if active.prints:
                try:
                    self.warn(explain.rejected(origin, "it prints while it is imported"))
                except PluginError:
                    self.active.expel(active)
                    raise
            return active

    def warn(self, error: PluginError) -> None:
        """Log *error* once, or raise it if the operator wants to be strict."""
        if self.settings.strict:
            raise error
        if str(error) not in self._told:
            self._told.add(str(error))
            logger.warning("%s", error)

    def _claim(self, active: Active) -> None:
        """Let the offers of *active* win, all of them or none."""
        try:
            claims: dict[tuple[Kind, str], Offer] = {
                (kind, scheme): offer
                for kind in KINDS
                for offer in self.active.offers(active, kind)
                for scheme in offer.spec.schemes
                if not self._is_held(kind, scheme, active)
            }
        except PluginError:
            self.active.expel(active)
            raise
        self._explicit.update(claims)

    def _is_held(self, kind: Kind, scheme: str, active: Active) -> bool:
        """Return whether something stronger than *active* has the scheme already."""
        held = self._explicit.get((kind, scheme))
        if held is None:
            return False
        if held.active.origin.way == active.origin.way:
            raise explain.conflict(kind, scheme, [held.active.origin, active.origin])
        return held.active.origin.way == "register()"

    def _offer(self, kind: Kind, candidate: Candidate, active: Active) -> Offer:
        offers = self.active.offers(active, kind)
        declared = {
            one.written for one in self.index.candidates(kind) if one.origin == candidate.origin
        }
        offered = {scheme: offer for offer in offers for scheme in offer.spec.schemes}
        if declared != offered.keys():
            raise explain.wrong_names(
                candidate.origin, GROUPS[kind], REGISTER_HOOKS[kind], declared, offered
            )
        return offered[candidate.name]

    def _hint(self, kind: Kind, scheme: str, installed: list[str]) -> str:
        """Say in a few words how to get *scheme*."""
        ours = explain.first_party_hint(kind, scheme, self.index.version_of)
        if ours:
            return ours
        for active in self.active:
            try:
                hint = self.active.ask(active, "stem_url_hint", kind=kind, scheme=scheme)
            except PluginError as error:
                self.warn(error)
                continue
            if isinstance(hint, str) and hint:
                return hint
        elsewhere: list[Kind] = [
            other for other in KINDS if other != kind and scheme in self.schemes(other)
        ]
        return explain.nearest_scheme(
            kind, scheme, self.index.version_of, installed=installed, elsewhere=elsewhere
        )


def _names(scheme: str, variant: str) -> tuple[str, ...]:
    # In a name a dot stands for the `+` of a URL, so no scheme of a URL has one.
    return () if "." in scheme else lookup_names(scheme, variant)


def _fresh_name(plugin: Any, taken: set[str]) -> str:
    """Return a name for *plugin* that nobody has."""
    kind = plugin if isinstance(plugin, type) else type(plugin)
    name = (
        plugin.__name__
        if isinstance(plugin, ModuleType)
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    number, fresh = 1, name
    while fresh in taken:
        number += 1
        fresh = f"{name} #{number}"
    return fresh
