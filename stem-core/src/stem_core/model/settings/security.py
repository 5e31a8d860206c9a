"""Settings that protect: TLS and signing keys, and what about them cannot be meant.

Rule of this module: it judges what is written. Whether a file holds a certificate
and whether a key is long enough is the business of whoever uses them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal

from attrs import field, frozen

from stem_core.model.errors import ConfigError, MissingSetting
from stem_core.model.secrets import Secret
from stem_core.model.settings.environment import setting
from stem_core.model.settings.readers import read_key_id, read_public_keys, read_secret_keys
from stem_core.model.urls import StemURL

__all__ = [
    "SigningConfig",
    "TlsConfig",
    "check_tls",
    "signing_contradictions",
    "tls_contradictions",
]


@frozen(kw_only=True)
class TlsConfig:
    """Certificates for every store that is reached over a network."""

    ca_certificate_file: str | None = setting(
        "STEM_TLS_CA_CERT",
        help="PEM file with the certificates to trust, instead of the system's.",
        example="/etc/stem/ca.pem",
    )
    client_certificate_file: str | None = setting(
        "STEM_TLS_CLIENT_CERT",
        help="PEM file with the certificate to show. Needs `STEM_TLS_CLIENT_KEY`.",
        example="/etc/stem/client.pem",
    )
    client_key_file: str | None = setting(
        "STEM_TLS_CLIENT_KEY",
        help="PEM file with the key of that certificate.",
        example="/etc/stem/client.key",
    )
    allow_insecure: bool = setting(
        "STEM_TLS_ALLOW_INSECURE",
        default=False,
        help="Encrypt, but do not check who answers. Warns at each start.",
        example="true",
    )

    @property
    def is_enabled(self) -> bool:
        """True when something about TLS was asked for."""
        return self != _NO_TLS


_NO_TLS: Final = TlsConfig()


@frozen(kw_only=True)
class SigningConfig:
    """Keys that vouch for envelopes; bytes here, judged by the signer that uses them."""

    algorithm: Literal["hmac-sha256", "ed25519"] = setting(
        "STEM_SIGNING_ALGORITHM",
        default="hmac-sha256",
        help="How envelopes are signed.",
        example="ed25519",
        or_file=True,
    )
    keys: Mapping[str, Secret[bytes]] = setting(
        "STEM_SIGNING_KEYS",
        default={},
        read=read_secret_keys,
        help="Secret keys of hmac-sha256, `id:base64`, separated by commas.",
        example="2025-06:BASE64",
        or_file=True,
        by_line=True,
    )
    active_key: str | None = setting(
        "STEM_SIGNING_ACTIVE_KEY",
        read=read_key_id,
        help="Id of the key that signs; the others only verify. Needed when there are several.",
        example="2025-06",
        or_file=True,
    )
    public_keys: Mapping[str, bytes] = setting(
        "STEM_SIGNING_PUBLIC_KEYS",
        default={},
        read=read_public_keys,
        help="Public keys of ed25519, `id:base64`. Enough for a worker that only verifies.",
        example="2025-06:BASE64",
        or_file=True,
        by_line=True,
    )
    private_keys: Mapping[str, Secret[bytes]] = setting(
        "STEM_SIGNING_PRIVATE_KEYS",
        default={},
        read=read_secret_keys,
        help="Private keys of ed25519, `id:base64`.",
        example="2025-06:BASE64",
        or_file=True,
        by_line=True,
    )

    strict: bool = field(default=False, eq=False)
    """`STEM_STRICT`: who uses the keys refuses what it otherwise only warns about."""
    files: Mapping[str, str] = field(factory=dict, eq=False)
    """The files that keys were read from, by variable (``STEM_SIGNING_KEYS_FILE``): who uses
    the keys can read them again."""

    @property
    def is_enabled(self) -> bool:
        """True when there is a key to sign or verify with."""
        return bool(self.keys or self.public_keys or self.private_keys)

    @property
    def signing_key(self) -> str | None:
        """The id of the key that signs: the active one, or the only one; None to verify only."""
        own = self.keys if self.algorithm == "hmac-sha256" else self.private_keys
        return self.active_key or (next(iter(own)) if len(own) == 1 else None)


def check_tls(url: StemURL, tls: TlsConfig, *, source: str = "url") -> None:
    """Refuse TLS settings for a *url* that does not use TLS.

    Raises:
        ConfigError: the connection would be plaintext, or there is none to protect.
    """
    if not tls.is_enabled:
        return
    secure = _WITH_TLS.get(url.scheme)
    if secure is not None:
        raise ConfigError(
            f"{source} ({url}): STEM_TLS_* is set, and {url.scheme}:// does not use TLS",
            way_out=f"Use {secure}://, or unset STEM_TLS_*.",
        )
    mode = dict(url.query).get("sslmode", "")
    if url.scheme in _POSTGRES and mode in _MAYBE_PLAINTEXT:
        raise ConfigError(
            f"{source} ({url}): STEM_TLS_* is set, and sslmode={mode} allows plaintext",
            way_out="Use sslmode=verify-full, or unset STEM_TLS_*.",
        )


_WITH_TLS: Final = {"redis": "rediss"}
_POSTGRES: Final = ("postgresql", "postgres")
_MAYBE_PLAINTEXT: Final = ("disable", "allow", "prefer")


def tls_contradictions(tls: TlsConfig) -> Iterator[ConfigError]:
    """Yield what is wrong between the settings of *tls*."""
    if (tls.client_certificate_file is None) != (tls.client_key_file is None):
        yield ConfigError("STEM_TLS_CLIENT_CERT and STEM_TLS_CLIENT_KEY belong together")


def signing_contradictions(signing: SigningConfig) -> Iterator[ConfigError]:
    """Yield what is wrong between the settings of *signing*."""
    hmac = signing.algorithm == "hmac-sha256"
    own, variable = (
        (signing.keys, "STEM_SIGNING_KEYS")
        if hmac
        else (signing.private_keys, "STEM_SIGNING_PRIVATE_KEYS")
    )
    foreign = signing.public_keys or signing.private_keys if hmac else signing.keys
    if foreign:
        yield ConfigError(
            f"STEM_SIGNING_ALGORITHM is {signing.algorithm}, and keys of another one are set",
            way_out=f"{signing.algorithm} reads {variable}.",
        )
    elif not signing.is_enabled:
        yield ConfigError("STEM_SIGNING_* is set without a key", way_out=f"Set {variable}.")
    elif signing.active_key in signing.public_keys and signing.active_key not in own:
        yield ConfigError(
            f"STEM_SIGNING_ACTIVE_KEY names a key of which only the public half is there: "
            f"{signing.active_key}",
            way_out=f"To sign, its private key is needed, in {variable}; to verify only, unset "
            "STEM_SIGNING_ACTIVE_KEY.",
        )
    elif signing.active_key is not None and signing.active_key not in own:
        yield ConfigError(
            f"STEM_SIGNING_ACTIVE_KEY is not in {variable}",
            way_out=f"There are: {', '.join(own) or 'none'}.",
        )
    elif len(own) > 1 and signing.active_key is None:
        yield MissingSetting(
            f"STEM_SIGNING_ACTIVE_KEY is not set, and {variable} has {len(own)} keys",
            way_out=f"Choose one of {', '.join(own)}.",
        )
