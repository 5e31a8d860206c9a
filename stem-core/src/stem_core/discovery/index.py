"""Which distribution claims which scheme, from metadata alone.

Rule of this module: it imports no plugin. `importlib.metadata` itself costs as much
as the rest of a start, so it is imported when the first question is asked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from stem_core.discovery import explain
from stem_core.discovery.candidate import ALIASES, GROUPS, Candidate, Group, Origin
from stem_core.discovery.settings import EVERY_THIRD_PARTY, PluginSettings, canonical

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["EntryPoints", "Given", "Index", "Installed", "Metadata"]

logger: Final = logging.getLogger("stem.plugins")

EntryPoints: TypeAlias = Callable[[str], "Iterable[EntryPoint]"]
"""Takes the name of a group."""

_OURS: Final = frozenset({"stem-core", "stem-redis", "stem-postgres", "stem-signing"})


class Metadata(Protocol):
    """What can be known of distributions."""

    def entry_points(self, group: str, /) -> Iterable[EntryPoint]:
        """Return the entry points of *group*."""
        ...

    def version_of(self, distribution: str) -> str | None:
        """Return the installed version, or None."""
        ...


class Given:
    """Metadata that a caller hands in: nothing is installed beside it."""

    def __init__(self, entry_points: EntryPoints) -> None:
        self.entry_points = entry_points

    def version_of(self, distribution: str) -> str | None:
        """Return None: only entry points were given."""
        return None


class Installed:
    """The metadata of this interpreter's path."""

    def entry_points(self, group: str) -> Iterable[EntryPoint]:
        """Return the entry points of *group*, of every readable distribution."""
        from importlib.metadata import entry_points

        try:
            return entry_points(group=group)
        except Exception:  # one unreadable file among all the installed ones
            return [point for point in _readable_points() if point.group == group]

    def version_of(self, distribution: str) -> str | None:
        """Return the installed version, or None."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version(distribution)
        except PackageNotFoundError:
            return None


def _readable_points() -> Iterable[EntryPoint]:
    """Yield what `entry_points()` would, but for the distributions that make it fail."""
    from importlib.metadata import distributions

    seen = set()
    for distribution in distributions():
        name = _fact(distribution, "name")
        if canonical(name) in seen:  # the first one on the path wins
            continue
        seen.add(canonical(name))
        try:
            points = list(distribution.entry_points)
        except Exception as error:  # third-party metadata
            logger.warning("the entry points of %s cannot be read: %s", name, type(error).__name__)
            continue
        yield from points


def _fact(distribution: Any, name: str) -> str:
    """Return a fact of a *distribution*, empty when its metadata are missing or broken."""
    try:
        return getattr(distribution, name) or ""
    except Exception:  # which error it is depends on the version of Python
        return ""


class Index:
    """Candidates by group and name, with the operator's choice among them."""

    def __init__(self, settings: PluginSettings, metadata: Metadata) -> None:
        self._metadata = metadata
        self._autoload = settings.autoload
        self._disable = {canonical(name): name for name in settings.disable}
        self._prefer = {
            ALIASES.get(scheme.lower(), scheme.lower()): distribution
            for scheme, distribution in settings.prefer.items()
        }
        self._found: dict[Group, tuple[Candidate, ...]] = {}

    def candidates(self, group: Group) -> tuple[Candidate, ...]:
        """Return all that is installed, also what is switched off, by name and distribution."""
        if group not in self._found:
            points = self._metadata.entry_points(GROUPS[group])
            found = {_candidate(group, point) for point in points}
            self._found[group] = tuple(
                sorted(found, key=lambda one: (one.name, one.origin.name, one.origin.module))
            )
        return self._found[group]

    def named(self, group: Group, name: str) -> tuple[Candidate, ...]:
        """Return the candidates of this *name*, also what is switched off."""
        return tuple(one for one in self.candidates(group) if one.name == name)

    def enabled(self, group: Group, name: str | None = None) -> tuple[Candidate, ...]:
        """Return the candidates that may be used."""
        return tuple(
            one
            for one in self.candidates(group)
            if name in (None, one.name) and not self.why_off(one)
        )

    def names(self, group: Group) -> list[str]:
        """Return the names that can be asked for, sorted."""
        return sorted({one.name for one in self.enabled(group) if one.name not in ALIASES})

    def why_off(self, candidate: Candidate) -> str:
        """Return the variable that switches *candidate* off, or an empty text."""
        name = canonical(candidate.origin.distribution)
        third_party = name not in _OURS
        if name in self._disable or (third_party and EVERY_THIRD_PARTY in self._disable):
            return "STEM_PLUGINS_DISABLE"
        if not self._autoload and name != "stem-core":
            return "STEM_PLUGINS_AUTOLOAD=0"
        return ""

    def choose(self, group: Group, name: str) -> Candidate | None:
        """Return the one candidate to use, or None when there is none.

        Raises:
            PluginConflict: several claim the name, and no preference decides.
        """
        found = self.enabled(group, name)
        wanted = self._prefer.get(name, "")
        preferred = [
            one for one in found if canonical(one.origin.distribution) == canonical(wanted)
        ]
        left = preferred or found
        if len(left) > 1:
            raise explain.conflict(group, name, [one.origin for one in left], wanted)
        return left[0] if left else None

    def version_of(self, distribution: str) -> str | None:
        """Return the installed version of *distribution*, or None."""
        return self._metadata.version_of(distribution)

    def without_effect(self) -> list[str]:
        """Return what the operator said about distributions that offer nothing such."""
        disabled = set(self._disable) - {EVERY_THIRD_PARTY}
        if not disabled and not self._prefer:  # asking would read the metadata
            return []
        everyone = [one for group in GROUPS for one in self.candidates(group)]
        claims = {(one.name, canonical(one.origin.distribution)) for one in everyone}
        known = sorted({distribution for _, distribution in claims})
        return [
            explain.unknown_distribution("STEM_PLUGINS_DISABLE", self._disable[name], known)
            for name in sorted(disabled.difference(known))
        ] + [
            explain.useless_preference(scheme, wanted)
            for scheme, wanted in sorted(self._prefer.items())
            if (scheme, canonical(wanted)) not in claims
        ]


def _candidate(group: Group, point: EntryPoint) -> Candidate:
    origin = Origin(
        module=point.value.partition("[")[0].strip(),  # behind it stand extras, which we ignore
        distribution=_fact(point.dist, "name"),
        version=_fact(point.dist, "version"),
    )
    return Candidate(group=group, name=point.name.lower(), written=point.name, origin=origin)
