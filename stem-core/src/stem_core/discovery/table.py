"""What is installed, as plain values for `stem plugins`: rows, a check, and one scheme in full.

Rule of this module: values only. How they look on a terminal or as JSON is the
business of whoever prints them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from functools import partial
from itertools import islice
from typing import Any, Final, Literal, TypeAlias

import attrs
import msgspec
from attrs import evolve, frozen

from stem_core.contracts.capabilities import BackendCapabilities, Capabilities
from stem_core.discovery import explain
from stem_core.discovery.activation import Active, Offer, load_for, options_class
from stem_core.discovery.candidate import ALIASES, GROUPS, KINDS, Candidate, Kind, Origin
from stem_core.discovery.resolve import Resolver
from stem_core.model.errors import PluginConflict, StemError
from stem_core.model.structure import OptionInfo, describe_options

__all__ = [
    "COLUMNS",
    "PluginRow",
    "PluginState",
    "SchemeInfo",
    "checked",
    "checks",
    "rows",
    "shown",
]

PluginState: TypeAlias = Literal["ok", "not loaded", "unused", "disabled", "conflict", "error"]
"""`unused` is another one's place: the operator, or the application, chose that one."""

COLUMNS: Final = ("kind", "scheme", "distribution", "version", "module", "api", "state", "detail")


@frozen(kw_only=True)
class PluginRow:
    """One thing that a plugin offers.

    Attributes:
        kind: ``broker``, ``backend``, ``signer``, ``hooks``, ``command``, or ``module``
            for what `STEM_PLUGINS` names and nobody imported yet.
        scheme: the scheme; the name of a command or of hooks.
        distribution, version: empty for what was registered by hand.
        module: what would be imported.
        api: the plugin API it was written for; empty while it is not loaded.
        state: see `PluginState`.
        detail: one sentence, where the state needs one.
    """

    kind: str
    scheme: str
    distribution: str
    version: str
    module: str
    api: str = ""
    state: PluginState = "not loaded"
    detail: str = ""

    @property
    def is_healthy(self) -> bool:
        """False if asking for it would fail, though nobody switched it off."""
        return self.state not in ("error", "conflict")

    def to_json(self) -> dict[str, str]:
        """Return the row as plain values, in the order of `COLUMNS`."""
        return {name: getattr(self, name) for name in COLUMNS}


@frozen(kw_only=True)
class SchemeInfo:
    """What one plugin says of one scheme.

    Attributes:
        kind: ``broker``, ``backend`` or ``signer``.
        schemes, variants, summary, examples, factory: see `Spec`.
        options: the parameters of its URLs.
        capabilities: name to ``native``, ``emulated``, ``absent`` or a limit; empty if the
            plugin says so only when it is open.
        problem: why its factory cannot be imported; empty if it can.
    """

    kind: Kind
    schemes: tuple[str, ...]
    distribution: str
    version: str
    module: str
    api: str
    factory: str
    variants: tuple[str, ...]
    summary: str
    examples: tuple[str, ...]
    options: tuple[OptionInfo, ...]
    capabilities: dict[str, str]
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return attrs.asdict(self)


def rows(resolver: Resolver) -> list[PluginRow]:
    """Return a row for everything that is installed or registered, from metadata alone."""
    return [row for row, _ in _lines(resolver)]


def checked(resolver: Resolver) -> list[PluginRow]:
    """Return the rows of `rows` after trying each one that may be used."""
    return list(checks(resolver))


def checks(resolver: Resolver, start: int = 0) -> Iterator[PluginRow]:
    """Yield the rows of `checked` from the 0-based *start* on, each as soon as it is tried."""
    for row, trial in islice(_lines(resolver), start, None):
        yield _tried(row, trial)


def shown(resolver: Resolver, scheme: str, variant: str) -> list[SchemeInfo]:
    """Return what is known of *scheme*, for each kind that has it."""
    resolver.prepare()
    found = [resolver.find(kind, scheme, variant) for kind in KINDS]
    infos = [_info(one[1]) for one in found if one is not None]
    if not infos:
        kinds: list[Kind] = [kind for kind in KINDS if resolver.could_have(kind, scheme, variant)]
        raise resolver.nobody(kinds[0] if kinds else "broker", scheme, variant)
    return infos


# ── rows ─────────────────────────────────────────────────────────────────────

_Trial: TypeAlias = Callable[[], Active | None]
"""Imports what a row stands for; returns the plugin, or None for a command."""


def _lines(resolver: Resolver) -> Iterator[tuple[PluginRow, _Trial]]:
    """Yield each row, with what would prove it."""
    offers = resolver.explicit
    for (kind, name), offer in sorted(offers.items()):
        yield _by_hand(kind, name, offer.active), partial(_try_offer, offer)
    offering = {id(offer.active.plugin) for offer in offers.values()}
    for active in resolver.active:
        if active.origin.way != "entry point" and id(active.plugin) not in offering:
            yield _by_hand("hooks", "", active), partial(_itself, active)
    for module in resolver.settings.modules:
        origin = Origin(module=module, way="STEM_PLUGINS")
        if resolver.active.find(origin) is None:
            row = _row("module", "", origin, detail="by STEM_PLUGINS")
            yield row, partial(_try_module, resolver, origin)
    for candidate in (one for group in GROUPS for one in resolver.index.candidates(group)):
        yield _judged(resolver, candidate), partial(_try_candidate, resolver, candidate)


def _judged(resolver: Resolver, candidate: Candidate) -> PluginRow:
    """Return the row of *candidate*: whether it would be used, and if not, why."""
    row = _row(candidate.group, candidate.name, candidate.origin)
    off = resolver.index.why_off(candidate)
    if off:
        return evolve(row, state="disabled", detail=f"by {off}")
    if candidate.group != "hooks":
        try:
            other = _winner(resolver, candidate)
        except PluginConflict as conflict:
            return evolve(row, state="conflict", detail=conflict.message)
        if other:
            return evolve(row, state="unused", detail=other)
    active = resolver.active.find(candidate.origin)
    return row if active is None else evolve(row, state="ok", api=active.api)


def _winner(resolver: Resolver, candidate: Candidate) -> str:
    """Return what is used in the place of *candidate*; empty if it is used itself."""
    name = candidate.name
    if name in ALIASES and candidate.group != "command":
        return f"{name!r} is another spelling of {ALIASES[name]!r}"
    for (kind, scheme), offer in resolver.explicit.items():
        if (kind, scheme) == (candidate.group, name):
            return f"{offer.active.origin.name} is used"
    chosen = resolver.index.choose(candidate.group, name)
    if chosen is None or chosen == candidate:
        return ""
    return f"STEM_PLUGINS_PREFER chose {chosen.origin.name}"


def _by_hand(kind: str, scheme: str, active: Active) -> PluginRow:
    row = _row(kind, scheme, active.origin, detail=f"by {active.origin.way}")
    return evolve(row, state="ok", api=active.api)


def _row(kind: str, scheme: str, origin: Origin, detail: str = "") -> PluginRow:
    return PluginRow(
        kind=kind,
        scheme=scheme,
        distribution=origin.distribution,
        version=origin.version,
        module=origin.module,
        detail=detail,
    )


# ── trials ───────────────────────────────────────────────────────────────────


def _tried(row: PluginRow, trial: _Trial) -> PluginRow:
    """Return *row* with what the trial proved."""
    if row.state in ("disabled", "conflict"):
        return row
    try:
        active = trial()
    except StemError as error:
        return evolve(row, state="error", detail=error.message)
    state: PluginState = "ok" if row.state == "not loaded" else row.state
    if active is None:
        return evolve(row, state=state)
    detail = row.detail or ("prints while it is imported" if active.prints else "")
    return evolve(row, state=state, api=active.api, detail=detail)


def _itself(active: Active) -> Active:
    return active


def _try_module(resolver: Resolver, origin: Origin) -> Active:
    return _apart(resolver).activate(origin)


def _try_candidate(resolver: Resolver, candidate: Candidate) -> Active | None:
    if candidate.group == "command":
        load_for(candidate.origin, candidate.origin.module)
        return None
    if candidate.group == "hooks":
        return _apart(resolver).activate(candidate.origin)
    return _try_offer(_apart(resolver).offer(candidate.group, candidate))


def _try_offer(offer: Offer) -> Active:
    """Import what the spec names: that is where a driver is missing."""
    factory = load_for(offer.active.origin, offer.spec.factory)
    if not callable(getattr(factory, "open", None)):
        raise explain.rejected(offer.active.origin, f"{offer.spec.factory} has no open()")
    options_class(offer)
    return offer.active


def _apart(resolver: Resolver) -> Resolver:
    """Return a resolver where a trial leaves nothing behind, and warns of nothing."""
    return Resolver(evolve(resolver.settings, modules=(), strict=False), resolver.index)


# ── one scheme in full ───────────────────────────────────────────────────────


def _info(offer: Offer) -> SchemeInfo:
    options = options_class(offer)
    capabilities, problem = _capabilities(offer)
    origin, spec = offer.active.origin, offer.spec
    return SchemeInfo(
        kind=offer.kind,
        schemes=spec.schemes,
        distribution=origin.distribution,
        version=origin.version,
        module=origin.module,
        api=offer.active.api,
        factory=spec.factory,
        variants=spec.variants,
        summary=spec.summary,
        examples=spec.examples,
        options=tuple(describe_options(options)) if options else (),
        capabilities=capabilities,
        problem=problem,
    )


def _capabilities(offer: Offer) -> tuple[dict[str, str], str]:
    """Return what the factory's class declares, and why it could not be asked."""
    try:
        factory = load_for(offer.active.origin, offer.spec.factory)
    except StemError as error:
        return {}, error.message
    declared = getattr(factory, "capabilities", None)
    if not isinstance(declared, Capabilities | BackendCapabilities):
        return {}, ""
    return {name: _text(value) for name, value in msgspec.structs.asdict(declared).items()}, ""


def _text(value: object) -> str:
    return str(value.value if isinstance(value, Enum) else value)
