"""From settings to a signer, never silently to none.

Rule of this module: keys that are configured and cannot be used are an error.
"""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import evolve

from stem_core.contracts.hookspecs import PluginContext
from stem_core.contracts.signer import Signer
from stem_core.discovery.host import PluginHost
from stem_core.discovery.settings import PluginSettings
from stem_core.model.errors import ConfigError, UnknownScheme
from stem_core.model.options import UNSET
from stem_core.model.secrets import Secret
from stem_core.model.settings import SigningConfig, StemConfig
from stem_core.model.urls import StemURL

if TYPE_CHECKING:
    from stem_core.producer.runtime import GivenSigner

__all__ = ["PayloadSigner", "signer_of"]

_log = logging.getLogger("stem.producer")


class PayloadSigner:
    """Where signers come from."""

    @staticmethod
    def maybe(signing: SigningConfig, *, plugins: PluginHost | None = None) -> Signer | None:
        """Return the signer of these keys, None when there are no keys.

        Raises:
            ConfigError: there are keys, and no plugin that can use them.
        """
        if not signing.is_enabled:
            return None
        host = plugins or PluginHost(PluginSettings())
        context = PluginContext(role="signer", report=_log.warning, strict=signing.strict)
        return _of_keys(signing, host, context)


def signer_of(
    given: GivenSigner, config: StemConfig, plugins: PluginHost, context: PluginContext
) -> Signer | None:
    """Return the signer that was given, else the one that the environment configures.

    None when nothing is configured, or when None or ``none://`` was given; that is
    logged when there are keys that stay unused.
    """
    if isinstance(given, Signer):
        return given
    url = config.signer_url if given is UNSET else given
    context = evolve(context, role="signer")
    if url is not None:
        signer = plugins.open_signer(url, evolve(context, environment=dict(os.environ)))
    elif given is UNSET and config.signing.is_enabled:
        return _of_keys(config.signing, plugins, context)
    else:
        signer = None
    if signer is None and config.signing.is_enabled:
        _log.warning("signing keys are configured and not used: unsigned, because it was asked for")
    return signer


def _of_keys(signing: SigningConfig, plugins: PluginHost, context: PluginContext) -> Signer:
    url = StemURL(scheme=signing.algorithm)
    context = evolve(context, environment=_variables(signing))
    try:
        signer = plugins.open_signer(url, context)
    except UnknownScheme as error:
        raise ConfigError(
            f"signing keys are configured for {signing.algorithm}, and no plugin can use them",
            way_out=f"{error.message}. Unset STEM_SIGNING_* to send unsigned.",
        ) from error
    if signer is None:
        raise ConfigError(f"the plugin of {signing.algorithm} made no signer of the keys")
    return signer


def _variables(signing: SigningConfig) -> Mapping[str, str]:
    """Return *signing* as the variables it came from: a plugin reads its keys by name.

    What came from a file is given by the file's name, so that it can be read again.
    """
    named = {
        "STEM_SIGNING_ALGORITHM": signing.algorithm,
        # With files the only key of now may be one of several tomorrow.
        "STEM_SIGNING_ACTIVE_KEY": signing.active_key
        or ("" if signing.files else signing.signing_key or ""),
        "STEM_SIGNING_KEYS": _listed(signing.keys),
        "STEM_SIGNING_PUBLIC_KEYS": _listed(signing.public_keys),
        "STEM_SIGNING_PRIVATE_KEYS": _listed(signing.private_keys),
    }
    for name in [name for name in named if f"{name}_FILE" in signing.files]:
        del named[name]
    return {**{name: text for name, text in named.items() if text}, **signing.files}


def _listed(keys: Mapping[str, Secret[bytes]] | Mapping[str, bytes]) -> str:
    pairs = []
    for key_id, key in keys.items():
        raw = key.reveal() if isinstance(key, Secret) else key
        pairs.append(f"{key_id}:{base64.b64encode(raw).decode()}")
    return ",".join(pairs)
