"""TLS as the settings ask for it. The files are read anew for each connection, so that one which
is replaced on disk is used from the next connection on.
"""

from __future__ import annotations

import ssl
from typing import NoReturn

from stem_core.plugin import ConfigError, StoreMisconfigured, TlsConfig

__all__ = ["check_files", "context_of"]


def check_files(tls: TlsConfig) -> None:
    """Refuse files that cannot be used: they look like a server that is away, and would for ever.

    Raises:
        ConfigError: names the variable and the file.
    """
    named = {
        "STEM_TLS_CA_CERT": tls.ca_certificate_file,
        "STEM_TLS_CLIENT_CERT": tls.client_certificate_file,
        "STEM_TLS_CLIENT_KEY": tls.client_key_file,
    }
    for variable, path in named.items():
        try:
            if path is not None:
                open(path, "rb").close()
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise ConfigError(f"{variable} names {path}, which cannot be read: {why}") from None
    try:
        _show(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), tls)
    except ssl.SSLError as error:
        why = error.reason or "they are no PEM files"
        raise ConfigError(
            f"STEM_TLS_CLIENT_CERT and STEM_TLS_CLIENT_KEY cannot be used: {why}"
        ) from None


def context_of(tls: TlsConfig) -> ssl.SSLContext:
    """Return the settings for one connection. Certificates that are named are trusted instead of
    the system's, not beside them.

    Raises:
        OSError: a file cannot be read, or holds something else.
        StoreMisconfigured: the key asks for a password.
    """
    context = ssl.create_default_context(cafile=tls.ca_certificate_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.allow_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        _show(context, tls)
    except ConfigError as error:  # the file was another one at the start
        raise StoreMisconfigured(error.message, way_out=error.way_out) from None
    return context


def _show(context: ssl.SSLContext, tls: TlsConfig) -> None:
    """Let *context* show the certificate of the client, if there is one."""

    def asked() -> NoReturn:
        # Without an answer of ours OpenSSL asks at the terminal, while the whole loop waits.
        raise ConfigError(
            f"the key in {tls.client_key_file}, which STEM_TLS_CLIENT_KEY names, is encrypted, and "
            "nobody can be asked for its password",
            way_out="Decrypt it: openssl pkey -in KEY -out PLAIN, in a file that the worker alone "
            "may read.",
        )

    if tls.client_certificate_file is not None:
        context.load_cert_chain(tls.client_certificate_file, tls.client_key_file, password=asked)
