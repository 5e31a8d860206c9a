"""The factories of `none://`: they open nothing.

TLS settings are not refused here: they belong to another URL, for this one has no connection.
"""

from __future__ import annotations

from stem_core.contracts.hookspecs import PluginContext
from stem_core.model.errors import InvalidURL
from stem_core.model.urls import StemURL

__all__ = ["NoBackend", "NoSigner"]


class NoBackend:
    """Opens no result backend."""

    @classmethod
    async def open(cls, url: StemURL, options: None, context: PluginContext) -> None:
        """Return None: nobody remembers results."""
        _refuse_address(url)


class NoSigner:
    """Opens no signer."""

    @classmethod
    def open(cls, url: StemURL, options: None, context: PluginContext) -> None:
        """Return None: unsigned on purpose."""
        _refuse_address(url)


def _refuse_address(url: StemURL) -> None:
    # An address means that somebody edited half of a URL; it must not switch signing off.
    if url.hosts or url.username or url.password is not None or url.path not in ("", "/"):
        raise InvalidURL(
            f"{url.redacted()}: none:// takes no user, host or path",
            way_out="Write none:// alone, or the scheme that belongs to this address.",
        )
