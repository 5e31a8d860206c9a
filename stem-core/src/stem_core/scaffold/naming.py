"""What a new plugin is called, everywhere it has a name. Pure.

Rule of this module: a name is refused as a whole or good everywhere: as a scheme, a
distribution, a package, a class and a folder.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from attrs import frozen

from stem_core.model.errors import UsageError

__all__ = ["PluginNames"]

_FAMILY: Final = "stem-"
_SHAPE: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST: Final = 40
_DISTRIBUTIONS: Final = frozenset({"core", "redis", "postgres", "signing"})
"""What would be called like a distribution of our own."""


@frozen
class PluginNames:
    """The names of one plugin.

    Attributes:
        scheme: what its URLs begin with: ``acme``, or ``acme-queue``.
    """

    scheme: str

    @classmethod
    def of(cls, text: str, *, taken: Collection[str]) -> PluginNames:
        """Return the names of the plugin *text*, which may begin with ``stem-``.

        *taken* are schemes that somebody opens already.

        Raises:
            UsageError: it is no name, too long, or somebody else's.
        """
        scheme = text.removeprefix(_FAMILY)
        shown = f"{text[:_LONGEST]}…" if len(text) > _LONGEST else text
        if not _SHAPE.fullmatch(scheme):
            raise UsageError(
                f"{shown!r} cannot name a plugin: small letters and digits, a letter first, "
                "with single hyphens between",
                way_out="Name it by the scheme of its URLs, such as acme or acme-queue.",
            )
        if len(scheme) > _LONGEST:
            raise UsageError(f"{shown!r} is longer than {_LONGEST} letters")
        if scheme in taken or scheme in _DISTRIBUTIONS:
            raise UsageError(
                f"{scheme!r} belongs to another plugin already",
                way_out="A plugin has a scheme of its own; the table is: stem plugins",
            )
        return cls(scheme)

    @property
    def distribution(self) -> str:
        """What is installed: ``stem-acme-queue``."""
        return f"{_FAMILY}{self.scheme}"

    @property
    def package(self) -> str:
        """What is imported: ``stem_acme_queue``."""
        return self.distribution.replace("-", "_")

    @property
    def prefix(self) -> str:
        """What its classes begin with: ``AcmeQueue``."""
        return "".join(part.capitalize() for part in self.scheme.split("-"))
