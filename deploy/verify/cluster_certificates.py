"""The keys and certificates with which the parts of a control plane know each other."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_LIFETIME = timedelta(hours=12)
# Clocks of one machine agree; a minute is for those that are set meanwhile.
_LEEWAY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Identity:
    """The files of a certificate and of its private key."""

    certificate: Path
    key: Path


class Authority:
    """Issues certificates into a folder, for a few hours; nobody else trusts it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("mintmark verification", "")
        now = datetime.now(UTC)
        root = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _LEEWAY)
            .not_valid_after(now + _LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = folder / "ca.pem"
        self.certificate.write_bytes(root.public_bytes(serialization.Encoding.PEM))

    def issue(self, user: str, group: str = "", names: Sequence[str] = ()) -> Identity:
        """Return a new identity: Kubernetes' `user` in `group`, answering at `names`."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(user, group))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _LEEWAY)
            .not_valid_after(now + _LIFETIME)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        )
        if names:
            alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        stem = user.replace(":", "-")
        found = Identity(self._folder / f"{stem}.pem", self._folder / f"{stem}.key")
        found.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        _write_key(found.key, key)
        return found

    def client_context(self, identity: Identity) -> ssl.SSLContext:
        """Return how a client of this authority's servers connects."""
        context = ssl.create_default_context(cafile=self.certificate)
        context.load_cert_chain(identity.certificate, identity.key)
        return context

    def server_context(self, identity: Identity) -> ssl.SSLContext:
        """Return how a server serves those, and only those, that this authority knows."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.certificate)
        context.load_cert_chain(identity.certificate, identity.key)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


def _name(user: str, group: str) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, user)]
    if group:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    return x509.Name(parts)


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
