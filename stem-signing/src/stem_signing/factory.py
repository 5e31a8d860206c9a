"""From a URL to a signer."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from stem_core.plugin import ConfigError, PluginContext, StemURL
from stem_signing.keys import Algorithm
from stem_signing.options import SigningOptions
from stem_signing.signer import KeyringSigner
from stem_signing.sources import KeyFile, Source, Variables, checked_prefix

__all__ = ["SigningFactory", "source_of"]


class SigningFactory:
    """Opens ``hmac-sha256://`` and ``ed25519://``, each with ``+env`` and ``+file``."""

    @staticmethod
    def open(url: StemURL, options: SigningOptions, context: PluginContext) -> KeyringSigner:
        """Read the keys that *url* names.

        Raises:
            ConfigError: they are not there, or cannot be used.
        """
        return KeyringSigner(source_of(url, options, context), clock=context.clock)


def source_of(url: StemURL, options: SigningOptions, context: PluginContext) -> Source:
    """Return where *url* says that the keys are."""
    algorithm = cast(Algorithm, url.scheme)  # the plugin offers no other scheme
    if url.username or url.password is not None:
        raise ConfigError(f"{url.scheme}: a user or password in the URL of a signer means nothing")
    if url.variant == "file":
        return KeyFile(
            path=_path(url),
            algorithm=algorithm,
            active=options.active,
            strict=context.strict,
            report=context.report,
        )
    return Variables(
        environment=context.environment,
        algorithm=algorithm,
        prefix=_prefix(url),
        active=options.active,
        strict=context.strict,
        report=context.report,
    )


def _path(url: StemURL) -> Path:
    if url.hosts or not url.path.strip("/"):
        raise ConfigError(
            f"{url.scheme}+file: expected the absolute path of a key file, behind three slashes",
            way_out=f"Example: {url.scheme}+file:///run/secrets/stem-keys.toml",
        )
    return Path(url.path)


def _prefix(url: StemURL) -> str:
    scheme = url.scheme if not url.variant else f"{url.scheme}+{url.variant}"
    if not url.hosts and not url.path:
        return "STEM_SIGNING"
    if not url.variant:
        # The text is not repeated: where no variant says what it is, it may be a key.
        raise ConfigError(
            f"{scheme}: a key does not belong into a URL",
            way_out=f"{scheme}+env://NAME reads NAME_KEYS; "
            f"{scheme}+file:///run/keys.toml reads a key file.",
        )
    if len(url.hosts) != 1 or url.hosts[0].port is not None or url.path:
        raise ConfigError(
            f"{scheme}: expected what the variables begin with, and nothing more",
            way_out=f"Example: {scheme}://SHOP reads SHOP_KEYS and SHOP_ACTIVE_KEY.",
        )
    return checked_prefix(url.hosts[0].name, scheme)
