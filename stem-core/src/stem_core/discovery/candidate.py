"""Who claims a scheme: plain values, made from metadata or by hand."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from stem_core.model.value import Value

__all__ = ["ALIASES", "GROUPS", "KINDS", "Candidate", "Group", "Kind", "Origin", "lookup_names"]

Kind: TypeAlias = Literal["broker", "backend", "signer"]
"""What a URL can open."""

Group: TypeAlias = Literal["broker", "backend", "signer", "hooks", "command"]
"""What an entry point can offer: the kinds, hooks that are always on, and commands."""

KINDS: Final[tuple[Kind, ...]] = ("broker", "backend", "signer")
GROUPS: Final[Mapping[Group, str]] = MappingProxyType(
    {
        "broker": "stem.brokers",
        "backend": "stem.backends",
        "signer": "stem.signers",
        "hooks": "stem.plugins",
        "command": "stem.commands",
    }
)

ALIASES: Final = MappingProxyType({"postgres": "postgresql", "pg": "postgresql"})
"""Other spellings of a scheme. They are ours, so no plugin can take one over."""


class Origin(Value, frozen=True, gc=False, kw_only=True):
    """Where a plugin comes from.

    Attributes:
        module: what is imported, or the name under which an object was registered.
        distribution, version: empty unless it was found through an entry point.
        way: how it came here.
    """

    module: str
    distribution: str = ""
    version: str = ""
    way: Literal["entry point", "STEM_PLUGINS", "register()"] = "entry point"

    @property
    def name(self) -> str:
        """The distribution and its version, or the module and how it was named."""
        if self.way != "entry point":
            return f"{self.module} (by {self.way})"
        return f"{self.distribution or 'a distribution without a name'} {self.version}".rstrip()

    def __str__(self) -> str:
        return f"{self.name} ({self.module})" if self.way == "entry point" else self.name


class Candidate(Value, frozen=True, gc=False, kw_only=True):
    """One entry point of ours that somebody installed; nothing of it is imported.

    Attributes:
        group: which of our groups it stands in.
        name: the scheme, the command, or any name for hooks; lower case.
        written: the name as it is written.
        origin: who claims it.
    """

    group: Group
    name: str
    written: str
    origin: Origin


def lookup_names(scheme: str, variant: str = "") -> tuple[str, ...]:
    """Return the entry-point names that may open ``scheme+variant://``, the closest first.

    A dot stands between scheme and variant: a name may own one variant of a scheme.
    """
    base = ALIASES.get(scheme, scheme)
    return (f"{base}.{variant}", base) if variant else (base,)
