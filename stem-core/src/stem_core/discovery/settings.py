"""What the operator says about plugins, apart from the rest of the configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

if TYPE_CHECKING:
    from stem_core.model.settings import StemConfig

__all__ = ["EVERY_THIRD_PARTY", "PluginSettings", "canonical"]

EVERY_THIRD_PARTY: Final = "*"

_SEPARATORS: Final = re.compile(r"[-_.]+")


def canonical(distribution: str) -> str:
    """Return the one spelling of the name of a *distribution*, as package indexes compare them."""
    return _SEPARATORS.sub("-", distribution).lower()


@frozen(kw_only=True)
class PluginSettings:
    """Which plugins may be used, and which of two.

    Attributes:
        modules: plugins named by module, with or without an entry point (`STEM_PLUGINS`).
        autoload: False leaves out every entry point but those of stem-core itself
            (`STEM_PLUGINS_AUTOLOAD`).
        disable: distributions to leave out; ``*`` is every third-party one
            (`STEM_PLUGINS_DISABLE`).
        prefer: scheme to distribution, where two claim one (`STEM_PLUGINS_PREFER`).
        strict: what would be a warning is an error (`STEM_PLUGINS_STRICT`).
    """

    modules: tuple[str, ...] = ()
    autoload: bool = True
    disable: tuple[str, ...] = ()
    prefer: Mapping[str, str] = field(factory=dict)
    strict: bool = False

    @classmethod
    def of(cls, config: StemConfig) -> PluginSettings:
        """Return the part of *config* that concerns plugins."""
        return cls(
            modules=config.plugins,
            autoload=config.plugins_autoload,
            disable=config.plugins_disable,
            prefer=config.plugins_prefer,
            strict=config.plugins_strict,
        )
