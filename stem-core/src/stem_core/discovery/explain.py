"""Why a plugin cannot be used, and what to do about it: every message of this room.

Rule of this module: a message names the distribution, the scheme and the cause. It
holds no part of a URL but its redacted text, and recommends to install nothing but
distributions of our own: a guessed name may belong to an attacker.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeGuard

from attrs import frozen

from stem_core.contracts.hookspecs import PLUGIN_API, Spec
from stem_core.discovery.candidate import ALIASES, Group, Kind, Origin
from stem_core.model.errors import (
    InvalidURL,
    PluginApiMismatch,
    PluginBroken,
    PluginConflict,
    PluginDisabled,
    PluginError,
    StoreUnavailable,
    UnknownScheme,
)
from stem_core.model.secrets import is_secret_name
from stem_core.model.urls import StemURL

__all__ = [
    "FIRST_PARTY",
    "FirstParty",
    "api_mismatch",
    "cause_of",
    "conflict",
    "disabled",
    "first_party_hint",
    "hint_at",
    "is_version",
    "load_failed",
    "nearest_scheme",
    "no_parameters",
    "open_failed",
    "rejected",
    "unknown_distribution",
    "unknown_hook",
    "unknown_scheme",
    "unknown_variant",
    "useless_preference",
    "wrong_names",
]


@frozen
class FirstParty:
    """A distribution of our own.

    Attributes:
        distribution: its name; empty for the core itself.
        is_built: this release has it. Set with the release that brings it, so that nobody
            is sent to install what cannot work yet.
    """

    distribution: str
    is_built: bool


_REDIS: Final = FirstParty("stem-redis", is_built=True)
_POSTGRES: Final = FirstParty("stem-postgres", is_built=True)
_SIGNING: Final = FirstParty("stem-signing", is_built=True)
_SQLITE: Final = FirstParty("", is_built=False)

FIRST_PARTY: Final[Mapping[tuple[Kind, str], FirstParty]] = MappingProxyType(
    {
        ("broker", "redis"): _REDIS,
        ("broker", "rediss"): _REDIS,
        ("backend", "redis"): _REDIS,
        ("backend", "rediss"): _REDIS,
        ("broker", "postgresql"): _POSTGRES,
        ("backend", "postgresql"): _POSTGRES,
        ("signer", "hmac-sha256"): _SIGNING,
        ("signer", "ed25519"): _SIGNING,
        ("broker", "sqlite"): _SQLITE,
        ("backend", "sqlite"): _SQLITE,
    }
)
_LIST: Final = "(see: stem plugins)"
_LONGEST: Final = 300
_MACHINERY: Final = ("importlib", "pluggy", "contextlib", "stem_core.discovery")
"""Modules that stand in every traceback and are to blame for none."""


# ── nobody offers it ─────────────────────────────────────────────────────────


def unknown_scheme(
    kind: Kind, scheme: str, hint: str, *, installed: Sequence[str]
) -> UnknownScheme:
    """No installed plugin opens *scheme*; *hint* says in a few words how to get one."""
    there = f"installed {kind} schemes: {', '.join(installed) or 'none'}   {_LIST}"
    dash = f" — {hint}" if hint else ""
    return UnknownScheme(f"no {kind} plugin for URL scheme {_name(scheme)}{dash}", way_out=there)


def first_party_hint(kind: Kind, scheme: str, version_of: Callable[[str], str | None]) -> str:
    """Return how to get *scheme* from a distribution of our own; empty if none has it."""
    scheme = ALIASES.get(scheme, scheme)
    ours = FIRST_PARTY.get((kind, scheme))
    return "" if ours is None else hint_at(ours, scheme, version_of(ours.distribution))


def hint_at(ours: FirstParty, scheme: str, installed: str | None) -> str:
    """Return how to get *scheme* from *ours*, of which the version *installed* is there."""
    name = ours.distribution
    if not name:
        return f"{scheme}:// is not built yet in this release"
    if not ours.is_built:
        return (
            f"{name} opens {scheme}:// and is not built yet in this release; "
            f"it will come with: pip install {name}"
        )
    if installed is None:
        return f"pip install {name}"
    return f"{name} {installed} is installed and does not offer it: upgrade {name}"


def nearest_scheme(
    kind: Kind,
    scheme: str,
    version_of: Callable[[str], str | None],
    *,
    installed: Sequence[str],
    elsewhere: Sequence[Kind],
) -> str:
    """Return what was probably meant by *scheme*; empty if nothing is near."""
    if elsewhere:
        return f"{scheme!r} is a scheme of {' and '.join(f'{other}s' for other in elsewhere)} only"
    spelled = [name.replace(".", "+") for name in installed]
    ours = [name for owner, name in FIRST_PARTY if owner == kind]
    near = difflib.get_close_matches(scheme, [*spelled, *ours, *ALIASES], n=1, cutoff=0.6)
    if not near:
        return ""
    missing = "" if near[0] in spelled else first_party_hint(kind, near[0], version_of)
    return f"did you mean {near[0]!r}?" + (f" ({missing})" if missing else "")


def disabled(kind: Kind, scheme: str, origin: Origin, variable: str) -> PluginDisabled:
    """The plugin for *scheme* is there and switched off."""
    if variable == "STEM_PLUGINS_DISABLE":
        way_out = f"take {origin.distribution} (or '*') out of STEM_PLUGINS_DISABLE"
    else:
        way_out = f"name it: STEM_PLUGINS={origin.module}"
    return PluginDisabled(
        f"the {kind} plugin for URL scheme {_name(scheme)}, {origin}, "
        f"is switched off by {variable}",
        way_out=way_out,
    )


# ── several offer it ─────────────────────────────────────────────────────────


def conflict(
    group: Group, name: str, origins: Sequence[Origin], preferred: str = ""
) -> PluginConflict:
    """Several plugins claim *name*, and no preference decides."""
    what = f"{group} scheme" if group in ("broker", "backend", "signer") else group
    who = " and ".join(origin.name for origin in origins)
    if len({origin.name for origin in origins}) == 1:
        who = f"{origins[0].name} twice, by {' and '.join(origin.module for origin in origins)}"
        return PluginConflict(f"{what} {name!r} is provided by {who}", way_out="Uninstall it.")
    if any(origin.way != "entry point" for origin in origins):
        return PluginConflict(
            f"{what} {name!r} is provided by {who}", way_out="Register one of them only."
        )
    failed = f", which STEM_PLUGINS_PREFER={name}={preferred} does not decide" if preferred else ""
    return PluginConflict(
        f"{what} {name!r} is provided by {who}{failed}",
        way_out="Uninstall one, or choose with "
        f"STEM_PLUGINS_PREFER={name}={origins[0].distribution}",
    )


def unknown_distribution(variable: str, written: str, known: Sequence[str]) -> str:
    """*variable* names a distribution that has no plugin."""
    near = difflib.get_close_matches(written, known, n=1)
    guess = f"; did you mean {near[0]!r}?" if near else ""
    return f"{variable} names {written!r}, and no installed plugin comes from it{guess}"


def useless_preference(name: str, distribution: str) -> str:
    """A preference names who does not offer the scheme."""
    return (
        f"STEM_PLUGINS_PREFER={name}={distribution} has no effect: "
        f"{distribution} is not installed, or does not offer {name!r}"
    )


# ── one offers it, and it is broken ──────────────────────────────────────────


def load_failed(origin: Origin, cause: BaseException) -> PluginBroken:
    """Importing the plugin, or what it names, ended in *cause*."""
    return PluginBroken(
        f"plugin {origin} failed to load: {cause_of(cause)}", way_out=_way_out_of(origin)
    )


def rejected(origin: Origin, why: str) -> PluginBroken:
    """The plugin can be imported and is not what a plugin must be."""
    return PluginBroken(f"plugin {origin}: {why}", way_out=_way_out_of(origin))


def unknown_hook(origin: Origin, names: Iterable[str], known: Iterable[str]) -> PluginBroken:
    """The plugin implements hooks that do not exist, so nobody would ever call them."""
    known = sorted(known)
    said = []
    for name in sorted(names):
        near = difflib.get_close_matches(name, known, n=1)
        said.append(f"unknown hook {name!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
    return PluginBroken(
        f"plugin {origin} failed to load: {', '.join(said)}", way_out=_way_out_of(origin)
    )


def wrong_names(
    origin: Origin, group: str, hook: str, declared: Iterable[str], offered: Iterable[str]
) -> PluginBroken:
    """The entry points and the specs of a plugin name different schemes."""
    return PluginBroken(
        f"plugin {origin}: its entry points in {group} name {_list(declared)}, "
        f"and its {hook} offers {_list(offered)}",
        way_out="Both must name the same schemes, in lower case.",
    )


def api_mismatch(origin: Origin, declared: object) -> PluginApiMismatch:
    """The plugin was written for another plugin API, or does not say for which."""
    here = ".".join(map(str, PLUGIN_API))
    if not is_version(declared):
        said = (
            "declares no STEM_PLUGIN_API" if declared is None else "declares no valid API version"
        )
        return PluginApiMismatch(
            f"plugin {origin} {said}; this stem-core provides {here}",
            way_out=f"its author adds: STEM_PLUGIN_API = {PLUGIN_API}",
        )
    older = declared < PLUGIN_API
    name = origin.distribution or origin.module
    return PluginApiMismatch(
        f"{origin.name} declares plugin API {'.'.join(map(str, declared))}; "
        f"this stem-core provides {here}",
        way_out=f"Upgrade {name if older else 'stem-core'}.",
    )


def is_version(declared: object) -> TypeGuard[tuple[int, int]]:
    """Return whether *declared* is a pair of exact ints."""
    return (
        isinstance(declared, tuple)
        and len(declared) == 2
        and all(type(part) is int for part in declared)
    )


# ── it is fine, and the URL is not ───────────────────────────────────────────


def unknown_variant(kind: Kind, spec: Spec, url: StemURL) -> InvalidURL:
    """The scheme is known and what stands behind the ``+`` is not."""
    near = difflib.get_close_matches(url.variant, spec.variants, n=1)
    guess = f"; did you mean '{url.scheme}+{near[0]}'?" if near else ""
    variants = ", ".join(f"{url.scheme}+{variant}" for variant in spec.variants)
    return InvalidURL(
        f"the {kind} plugin for {url.scheme!r} has no variant {_name(url.variant)}{guess}",
        way_out=f"It opens: {url.scheme}{', ' if variants else ''}{variants}",
    )


def no_parameters(kind: Kind, url: StemURL) -> InvalidURL:
    """The URL has options, and its plugin takes none."""
    names = ", ".join(dict.fromkeys(_name(name) for name, _ in url.query))
    return InvalidURL(
        f"{kind} URL ({url.redacted()}): unknown parameter {names}",
        way_out=f"{url.scheme}:// takes no parameters.",
    )


def open_failed(
    kind: Kind, origin: Origin, url: StemURL, cause: BaseException
) -> PluginError | StoreUnavailable:
    """Opening *url* ended in an error that is none of ours.

    The text of that error is shown only if it cannot hold a secret.
    """
    said = place_of(cause) if may_hold_secret(kind, url) else cause_of(cause)
    message = f"{kind} {url.redacted()} could not be opened by {origin}: {said}"
    if kind != "signer" and isinstance(cause, ConnectionError | TimeoutError):
        return StoreUnavailable(message)
    return PluginBroken(
        message, way_out="A plugin raises the errors of stem_core.plugin; this one is its bug."
    )


def may_hold_secret(kind: Kind, url: StemURL) -> bool:
    """Return whether an error about *url* may repeat a secret."""
    return (
        kind == "signer"
        or url.password is not None
        or any(is_secret_name(name) for name, _ in url.query)
    )


# ── pieces ───────────────────────────────────────────────────────────────────


def cause_of(error: BaseException) -> str:
    """Return *error* in one line: its type, what it says, and where it was raised."""
    try:
        text = str(error)
    except Exception:  # third-party code that cannot even say what failed
        text = ""
    shown = "".join(letter if letter.isprintable() else " " for letter in text[:_LONGEST])
    said = " ".join(shown.split())
    return f"{type(error).__name__}: {said}{_at(error)}" if said else place_of(error)


def place_of(error: BaseException) -> str:
    """Return the type of *error* and where it was raised, without what it says."""
    return f"{type(error).__name__}{_at(error)}"


def _at(error: BaseException) -> str:
    """Return the last line of third-party code that *error* came through."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" [{_tail(error.filename)}:{error.lineno}]"
    found, trace = "", error.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        if not module.startswith(_MACHINERY):
            found = f" [{_tail(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}]"
        trace = trace.tb_next
    return found


def _tail(path: str) -> str:
    parts = path.replace("\\", "/").split("/")
    return "/".join(["...", *parts[-2:]]) if len(parts) > 2 else path


def _way_out_of(origin: Origin) -> str:
    if origin.way == "entry point":
        return f"fix or uninstall it, or set STEM_PLUGINS_DISABLE={origin.distribution}"
    return "fix it, or take it out of STEM_PLUGINS" if origin.way == "STEM_PLUGINS" else "fix it"


def _name(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"
