"""Certificates for tests, made when they are needed: those of an authority, and of another one later."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

if TYPE_CHECKING:
    from pathlib import Path

LOCAL = ipaddress.ip_address("127.0.0.1")
DAY = timedelta(days=1)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_text(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key, PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def certificate(key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey | None = None) -> bytes:
    """A certificate for a private key at this machine, PEM: of the authority that has the other key, or its own."""
    own, authority = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each)]) for each in ("own", "authority"))
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(
            authority, own if by else authority, key.public_key(), x509.random_serial_number(), now - DAY, now + DAY
        )
        .add_extension(x509.BasicConstraints(by is None, None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(LOCAL)]), critical=False)
    )
    return builder.sign(by or key, hashes.SHA256()).public_bytes(Encoding.PEM)


class TlsFiles(NamedTuple):
    """Where a broker and its clients have their certificates."""

    authority: Path
    broker: Path
    client: Path
    key: Path

    def renew(self) -> None:
        """Put there those of a new authority, which knows nothing of the one before."""
        by, brokers, clients = new_key(), new_key(), new_key()
        self.authority.write_bytes(certificate(by))
        self.broker.write_bytes(key_text(brokers) + certificate(brokers, by))
        self.client.write_bytes(certificate(clients, by))
        self.key.write_bytes(key_text(clients))


def tls_files(folder: Path) -> TlsFiles:
    """The files in a folder, with a first authority."""
    made = TlsFiles(*(folder / f"{name}.pem" for name in TlsFiles._fields))
    made.renew()
    return made
