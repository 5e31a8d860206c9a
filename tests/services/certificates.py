"""A small certificate authority for tests. It needs `cryptography`, which stem-signing brings."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.tls import Identity

__all__ = ["Authority", "Pair"]

_DAY = timedelta(days=1)
_HOME = (
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    x509.IPAddress(ipaddress.ip_address("::1")),
)


@frozen
class Pair:
    """The PEM files of a certificate and of its key."""

    certificate: Path
    key: Path


class Authority:
    """Somebody who signs certificates, which hold for two days. Its files are in *folder*.

    Attributes:
        certificate: the PEM file that clients trust.
    """

    def __init__(self, folder: Path, name: str = "Test CA") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        builder = self._builder(self._name, self._key)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        self.certificate = self._write("ca.pem", _pem(builder.sign(self._key, hashes.SHA256())))

    def server(self, *, is_expired: bool = False) -> Pair:
        """Return what a server on this machine shows; its names are localhost and the loopback."""
        return self._pair("server", ExtendedKeyUsageOID.SERVER_AUTH, is_expired)

    def client(self, name: str = "client", *, password: bytes = b"") -> Pair:
        """Return what a client called *name* shows; with *password* its key is encrypted."""
        return self._pair(name, ExtendedKeyUsageOID.CLIENT_AUTH, password=password)

    def identity(self, *, asks_clients: bool = False, is_expired: bool = False) -> Identity:
        """Return what `RedisServer` and `PostgresServer` take as `tls`."""
        pair = self.server(is_expired=is_expired)
        return Identity(pair.certificate, pair.key, self.certificate if asks_clients else None)

    def _pair(
        self,
        name: str,
        usage: x509.ObjectIdentifier,
        is_expired: bool = False,
        password: bytes = b"",
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_named(name), key, age=3 * _DAY if is_expired else _DAY)
        builder = builder.add_extension(x509.SubjectAlternativeName(_HOME), False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(issuer, False)
        signed = builder.sign(self._key, hashes.SHA256())
        plain = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            _encryption(password),
        )
        pem = self._write(f"{name}.pem", _pem(signed))
        return Pair(pem, self._write(f"{name}.key", plain))

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, age: timedelta = _DAY
    ) -> x509.CertificateBuilder:
        began = datetime.now(UTC) - age
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(began)
            .not_valid_after(began + 2 * _DAY)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(_usage(is_authority=subject == self._name), True)
        )

    def _write(self, name: str, data: bytes) -> Path:
        path = self._folder / name
        path.touch(mode=0o600)
        path.write_bytes(data)
        return path


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _encryption(password: bytes) -> serialization.KeySerializationEncryption:
    if password:
        return serialization.BestAvailableEncryption(password)
    return serialization.NoEncryption()


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    """Return what a key is for: Python 3.13 refuses an authority that does not say it."""
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
