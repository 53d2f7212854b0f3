"""Loads the signing key with its certificates and refuses whatever would not verify later."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from service.errors import ConfigurationError
from service.provenance.credentials import SIGNING_PURPOSES
from service.provenance.development_ca import ensure_development_ca

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from service.provenance.options import ProvenanceOptions, SigningAlgorithm

CHAIN_SETTING = "MINTMARK_PROVENANCE__CERTIFICATE_CHAIN_PATH"
KEY_SETTING = "MINTMARK_PROVENANCE__PRIVATE_KEY_PATH"
ANCHORS_SETTING = "MINTMARK_PROVENANCE__TRUST_ANCHORS_PATH"
ALLOWANCE_SETTING = "MINTMARK_PROVENANCE__ALLOW_DEVELOPMENT_CA_ON_POSTGRESQL"
ALGORITHM_SETTING = "MINTMARK_PROVENANCE__ALGORITHM"

_CURVES = {"es256": "secp256r1", "es384": "secp384r1", "es512": "secp521r1"}
_MIN_RSA_BITS = 2048

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SigningMaterial:
    """Everything needed to sign and to verify what was signed.

    `chain_pem`: leaf first, without the root. `anchors_pem`: the trusted roots, which are public.
    `organisation`: the leaf's O, by which readers name the signer. `not_before`, `not_after`: the
    leaf's.
    """

    chain_pem: bytes
    key_pem: bytes = field(repr=False)
    anchors_pem: str
    algorithm: SigningAlgorithm
    is_development: bool
    not_before: datetime
    not_after: datetime
    subject: str
    organisation: str

    def seconds_left(self) -> float:
        """Return how long the leaf is still valid; negative once it has expired."""
        return (self.not_after - datetime.now(UTC)).total_seconds()

    def seconds_to_wait(self) -> float:
        """Return how long until the leaf is valid: above 0 only if the clock has gone back."""
        return (self.not_before - datetime.now(UTC)).total_seconds()


def load_signing_material(
    options: ProvenanceOptions, state_dir: Path, now: datetime | None = None
) -> SigningMaterial:
    """Return the operator's key and certificates, or those of the development CA.

    `now` is for tests. Warns `options.expiry_warning_days` ahead of the leaf's expiry. Raises
    ConfigurationError, naming the setting, for anything that would make signatures unreadable.
    """
    now = now or datetime.now(UTC)
    chain_path, key_path = options.certificate_chain_path, options.private_key_path
    if chain_path is None and key_path is None:
        return _check(_development_files(options, state_dir, now), now)
    if chain_path is None or key_path is None:
        missing, given = (
            (CHAIN_SETTING, KEY_SETTING) if chain_path is None else (KEY_SETTING, CHAIN_SETTING)
        )
        raise ConfigurationError(f"{missing} must be set together with {given}.")
    if options.trust_anchors_path is None:
        raise ConfigurationError(
            f"{ANCHORS_SETTING} must name the root that {CHAIN_SETTING} leads to."
        )
    files = _KeyFiles(
        chain_pem=_read(chain_path, CHAIN_SETTING),
        key_pem=_read(key_path, KEY_SETTING),
        anchors_pem=_read(options.trust_anchors_path, ANCHORS_SETTING),
        algorithm=options.algorithm,
        is_development=False,
    )
    material = _check(files, now)
    if material.not_after - now < timedelta(days=options.expiry_warning_days):
        logger.warning("the signing certificate expires at %s", material.not_after.isoformat())
    return material


def check_key_is_shared(options: ProvenanceOptions, *, has_shared_ledger: bool) -> None:
    """Raise ConfigurationError if replicas could share the ledger but not the signing key."""
    is_development = options.certificate_chain_path is None and options.private_key_path is None
    may_differ = is_development and not options.allow_development_ca_on_postgresql
    if has_shared_ledger and may_differ:
        raise ConfigurationError(
            f"{CHAIN_SETTING} must be set with a PostgreSQL ledger: replicas that each sign with a "
            "development CA of their own would not trust each other's pictures; with a single "
            f"replica, set {ALLOWANCE_SETTING}=true."
        )


@dataclass(frozen=True, slots=True)
class _KeyFiles:
    chain_pem: bytes
    key_pem: bytes = field(repr=False)
    anchors_pem: bytes
    algorithm: SigningAlgorithm
    is_development: bool


def _development_files(options: ProvenanceOptions, state_dir: Path, now: datetime) -> _KeyFiles:
    files = ensure_development_ca(state_dir, now)
    anchors_pem = _read(files.anchors, ANCHORS_SETTING)
    if options.trust_anchors_path is not None:
        anchors_pem += b"\n" + _read(options.trust_anchors_path, ANCHORS_SETTING)
    return _KeyFiles(
        chain_pem=_read(files.chain, CHAIN_SETTING),
        key_pem=_read(files.key, KEY_SETTING),
        anchors_pem=anchors_pem,
        algorithm="es256",
        is_development=True,
    )


def _check(files: _KeyFiles, now: datetime) -> SigningMaterial:
    chain = _certificates(files.chain_pem, CHAIN_SETTING)
    anchors = _certificates(files.anchors_pem, ANCHORS_SETTING)
    # C2PA wants the root left out, yet many issuers deliver it at the end.
    if len(chain) > 1 and chain[-1].subject == chain[-1].issuer:
        chain = chain[:-1]
    leaf = chain[0]
    _check_key(_private_key(files.key_pem), leaf, files.algorithm)
    _check_validity(chain, now)
    _check_profile(leaf)
    _check_chain(chain, anchors)
    return SigningMaterial(
        chain_pem=_to_pem(chain),
        key_pem=files.key_pem,
        anchors_pem=_to_pem(anchors).decode(),
        algorithm=files.algorithm,
        is_development=files.is_development,
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        subject=leaf.subject.rfc4514_string(),
        organisation=_organisation(leaf),
    )


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{setting}: {path} cannot be read ({error.strerror}).") from error


def _certificates(pem: bytes, setting: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise ConfigurationError(f"{setting} does not hold certificates in PEM form.") from error


def _private_key(pem: bytes) -> PrivateKeyTypes:
    if b"BEGIN ENCRYPTED PRIVATE KEY" in pem:
        raise ConfigurationError(
            f"{KEY_SETTING} holds an encrypted key: mount it decrypted, readable by this user only."
        )
    if b"BEGIN EC PRIVATE KEY" in pem or b"BEGIN RSA PRIVATE KEY" in pem:
        raise ConfigurationError(
            f"{KEY_SETTING} holds a key in its older form: convert it to PKCS#8 with "
            "`openssl pkcs8 -topk8 -nocrypt`."
        )
    try:
        return serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            f"{KEY_SETTING} does not hold a private key in PEM form (PKCS#8)."
        ) from error


def _check_key(key: PrivateKeyTypes, leaf: x509.Certificate, algorithm: SigningAlgorithm) -> None:
    # A key that does not fit signs without complaint, and every picture then reads as forged.
    if key.public_key() != leaf.public_key():
        raise ConfigurationError(
            f"{KEY_SETTING} is not the key of the first certificate in {CHAIN_SETTING}."
        )
    if algorithm in _CURVES:
        fits = isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == _CURVES[algorithm]
    elif algorithm == "ed25519":
        fits = isinstance(key, ed25519.Ed25519PrivateKey)
    else:
        fits = isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _MIN_RSA_BITS
    if not fits:
        raise ConfigurationError(
            f"{ALGORITHM_SETTING} is {algorithm}, which the key in {KEY_SETTING} cannot do."
        )


def _check_validity(chain: list[x509.Certificate], now: datetime) -> None:
    for certificate in chain:
        name = certificate.subject.rfc4514_string()
        if now < certificate.not_valid_before_utc:
            start = certificate.not_valid_before_utc.isoformat()
            raise ConfigurationError(f"{CHAIN_SETTING}: {name} is not valid before {start}.")
        if now > certificate.not_valid_after_utc:
            end = certificate.not_valid_after_utc.isoformat()
            raise ConfigurationError(f"{CHAIN_SETTING}: {name} expired at {end}.")


def _check_profile(leaf: x509.Certificate) -> None:
    extensions = {item.oid: item.value for item in leaf.extensions}
    usage = extensions.get(x509.KeyUsage.oid)
    purposes = extensions.get(x509.ExtendedKeyUsage.oid)
    basic = extensions.get(x509.BasicConstraints.oid)
    problem = None
    if isinstance(basic, x509.BasicConstraints) and basic.ca:
        problem = "is a certificate authority, not a signing certificate"
    elif not isinstance(usage, x509.KeyUsage) or not usage.digital_signature:
        problem = "lacks the key usage digitalSignature"
    elif not isinstance(purposes, x509.ExtendedKeyUsage) or not any(
        purpose.dotted_string in SIGNING_PURPOSES for purpose in purposes
    ):
        problem = (
            "lacks the extended key usage emailProtection, documentSigning or C2PA claimSigning"
        )
    elif x509.AuthorityKeyIdentifier.oid not in extensions:
        problem = "lacks the extension AuthorityKeyIdentifier"
    elif not _organisation(leaf):
        problem = "names no organisation (O)"
    if problem is not None:
        raise ConfigurationError(f"{CHAIN_SETTING}: the first certificate {problem}.")


def _check_chain(chain: list[x509.Certificate], anchors: list[x509.Certificate]) -> None:
    for certificate, issuer in pairwise(chain):
        if not _is_issued_by(certificate, issuer):
            raise ConfigurationError(
                f"{CHAIN_SETTING}: {certificate.subject.rfc4514_string()} is not issued by the "
                "certificate that follows it."
            )
    if not any(_is_issued_by(chain[-1], anchor) for anchor in anchors):
        raise ConfigurationError(
            f"{CHAIN_SETTING}: no certificate in {ANCHORS_SETTING} has issued "
            f"{chain[-1].subject.rfc4514_string()}; is an intermediate missing?"
        )


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _organisation(leaf: x509.Certificate) -> str:
    names = leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(names[0].value) if names else ""


def _to_pem(certificates: list[x509.Certificate]) -> bytes:
    pem = serialization.Encoding.PEM
    return b"".join(certificate.public_bytes(pem) for certificate in certificates)
