"""Which keyring a command means, and how one is written.

Rule of this module: it reads and writes; what is shown is the business of the commands.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_bytes

from attrs import evolve

from stem_core.cli.failures import warn
from stem_core.model.settings import StemConfig
from stem_core.plugin import (
    SYSTEM_CLOCK,
    ConfigError,
    PluginContext,
    StemURL,
    options_from_query,
)
from stem_signing import weakness
from stem_signing.factory import source_of
from stem_signing.files import KEY_FILE, alone_with, read_key_file, write_key_file
from stem_signing.keyring import Entry, Keyring
from stem_signing.keys import HMAC, Algorithm, key_of
from stem_signing.options import SigningOptions
from stem_signing.ringfile import RingFile, read_ring, written
from stem_signing.sources import KeyFile, Source, Variables

__all__ = ["changed", "file_of", "fresh_entry", "fresh_id", "source_for", "with_public_halves"]

_OURS = ("hmac-sha256", "ed25519")


def source_for(file: Path | None) -> Source:
    """Return where the keys are: in *file*, else where the environment says.

    Raises:
        ConfigError: it says nothing, or names the signer of somebody else.
    """
    config = StemConfig.from_environment(require_broker=False)
    strict = config.strict
    if file is not None:
        return KeyFile(path=file, algorithm=None, strict=strict, report=warn)
    if config.signer_url is not None:
        return _source_at(config.signer_url, strict)
    if config.signing.is_enabled:
        return Variables(
            environment=dict(os.environ),
            algorithm=config.signing.algorithm,
            strict=strict,
            report=warn,
        )
    raise ConfigError(
        "there are no keys: neither --file nor STEM_SIGNER_URL nor STEM_SIGNING_* names any",
        way_out="`stem keys generate keys.toml` makes a key file.",
    )


def _source_at(url: StemURL, strict: bool) -> Source:
    if url.scheme not in _OURS:
        raise ConfigError(
            f"STEM_SIGNER_URL ({url}): these keys are kept by another plugin",
            way_out="It has its own tools, or name a key file: --file.",
        )
    shown = url.redacted(SigningOptions)
    options = options_from_query(
        SigningOptions, url.query, source="STEM_SIGNER_URL", redacted_url=shown
    )
    context = PluginContext(role="signer", report=warn, environment=dict(os.environ), strict=strict)
    return source_of(url, options, context)


def file_of(given: Path | None) -> Path:
    """Return the key file that is *given*, else the one that STEM_SIGNER_URL names."""
    if given is not None:
        return given
    source = source_for(None)
    if isinstance(source, KeyFile):
        return source.path
    raise ConfigError(
        "the keys are in variables, which no command can change",
        way_out="Move them into a key file: `stem keys generate keys.toml`, then "
        "STEM_SIGNER_URL=ed25519+file:///…/keys.toml.",
    )


def changed(path: Path, change: Callable[[RingFile], RingFile]) -> Keyring:
    """Write what *change* makes of the key file at *path*, if it can be used; return the ring.

    Raises:
        ConfigError: it cannot be read, or what came out could not be used.
    """
    with alone_with(path):
        text = read_key_file(path, KEY_FILE).text
        try:
            file = change(read_ring(text))
            ring = Keyring.of(file.entries, active=file.active)
        except ValueError as error:
            raise ConfigError(f"key file {str(path)!r}: {error}") from None
        write_key_file(path, written(file), is_new=False)
        return ring


def fresh_entry(algorithm: Algorithm, id: str) -> Entry:
    """Return a new random key."""
    while True:
        data = token_bytes(32)
        if algorithm != HMAC:
            return Entry(id=id, key=key_of("private", data))
        if not weakness.of_secret(data):  # one in 256 ends with a zero
            return Entry(id=id, key=key_of("secret", data))


def fresh_id(taken: tuple[str, ...] = ()) -> str:
    """Return an id of today that is not *taken*."""
    today = datetime.fromtimestamp(SYSTEM_CLOCK.wall_ms() / 1000, UTC).strftime("%Y-%m-%d")
    names = (today, *(f"{today}.{count}" for count in range(2, len(taken) + 3)))
    return next(name for name in names if name not in taken)


def with_public_halves(ring: Keyring) -> RingFile:
    """Return the key file of who only verifies.

    Raises:
        ConfigError: a secret is in use, which has no half that could be shown.
    """
    entries = []
    for entry in ring.entries.values():
        public = entry.key.public()
        if public is not None:
            entries.append(evolve(entry, key=public))
    if not entries:
        raise ConfigError(
            "hmac-sha256 has no public keys: who can verify can sign",
            way_out="`stem keys generate --algorithm ed25519` makes keys that have.",
        )
    return RingFile(tuple(entries))
