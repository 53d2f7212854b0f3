"""A throw-away certificate authority, so that a fresh checkout signs like production does."""

from __future__ import annotations

import fcntl
import logging
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from service.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECTORY_NAME = "development-ca"
ORGANISATION = "Mintmark DEVELOPMENT, not trusted"

C2PA_CLAIM_SIGNING = ObjectIdentifier("1.3.6.1.4.1.62558.2.1")

_CLOCK_SKEW = timedelta(minutes=5)  # another machine's clock may be a little behind ours
_CA_LIFETIME = timedelta(days=3653)
_LEAF_LIFETIME = timedelta(days=365)  # the C2PA leaf profile allows 366
_RENEW_BEFORE_EXPIRY = timedelta(days=1)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IssuedChain:
    """PEM of a fresh leaf with its intermediate, the leaf's PKCS#8 key, and the root.

    The keys of root and intermediate are gone: nothing else can ever be issued below this root.
    """

    chain_pem: bytes
    key_pem: bytes
    root_pem: bytes


@dataclass(frozen=True, slots=True)
class DevelopmentFiles:
    """Where the development CA keeps its three files, each readable by the owner only."""

    directory: Path

    @property
    def chain(self) -> Path:
        """Return the path of the leaf certificate followed by the intermediate."""
        return self.directory / "chain.pem"

    @property
    def key(self) -> Path:
        """Return the path of the leaf's private key."""
        return self.directory / "key.pem"

    @property
    def anchors(self) -> Path:
        """Return the path of the root certificate."""
        return self.directory / "trust-anchors.pem"


def ensure_development_ca(state_dir: Path, now: datetime | None = None) -> DevelopmentFiles:
    """Return the development CA below `state_dir`, made first if there is none that still serves.

    Made anew, with a warning, when the leaf is expired or within a day of it. Safe for several
    processes at once (a file lock), and after a crash there is either a whole CA or none (a
    renamed directory). Raises ConfigurationError if `state_dir` is not writable.
    """
    now = now or datetime.now(UTC)
    files = DevelopmentFiles(state_dir / DIRECTORY_NAME)
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        with _locked(state_dir / f".{DIRECTORY_NAME}.lock"):
            if files.directory.exists():
                if _is_current(files, now):
                    return files
                logger.warning("the development certificate has expired; making a new authority")
                shutil.rmtree(files.directory)
            _write(files.directory, issue_chain(ORGANISATION, now))
    except OSError as error:
        raise ConfigurationError(
            f"The development certificate authority cannot be kept in {files.directory} "
            f"({error.strerror}): make the state directory writable, or set "
            "MINTMARK_PROVENANCE__CERTIFICATE_CHAIN_PATH and MINTMARK_PROVENANCE__PRIVATE_KEY_PATH."
        ) from error
    logger.warning("made a development certificate authority in %s: NOT trusted", files.directory)
    return files


def issue_chain(
    organisation: str, not_before: datetime, leaf_lifetime: timedelta = _LEAF_LIFETIME
) -> IssuedChain:
    """Return a new root, intermediate and leaf (ECDSA P-256) in the shape that C2PA asks for.

    Validity starts a few minutes before `not_before`, for clocks that are behind.
    Source of the leaf's profile: the C2PA conformance programme's claim-signing certificate
    profile 0.1 (assurance level 1); emailProtection is what validators without it look for.
    """
    start = not_before - _CLOCK_SKEW
    root = _Party.make(organisation, "root")
    intermediate = _Party.make(organisation, "intermediate")
    leaf = _Party.make(organisation, "picture signing")
    root_certificate = _issue_authority(root, issuer=root, start=start, path_length=1)
    intermediate_certificate = _issue_authority(
        intermediate, issuer=root, start=start, path_length=0
    )
    leaf_certificate = (
        _builder(leaf, intermediate, start)
        .not_valid_after(not_before + leaf_lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(is_authority=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION, C2PA_CLAIM_SIGNING]),
            critical=False,
        )
        .sign(intermediate.key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return IssuedChain(
        chain_pem=leaf_certificate.public_bytes(pem) + intermediate_certificate.public_bytes(pem),
        key_pem=leaf.key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        root_pem=root_certificate.public_bytes(pem),
    )


@dataclass(frozen=True, slots=True)
class _Party:
    name: x509.Name
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def make(cls, organisation: str, role: str) -> _Party:
        attributes = [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "ZZ"),  # ISO 3166: never a real country
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{organisation}: {role}"),
        ]
        return cls(x509.Name(attributes), ec.generate_private_key(ec.SECP256R1()))


def _builder(subject: _Party, issuer: _Party, start: datetime) -> x509.CertificateBuilder:
    subject_key, issuer_key = subject.key.public_key(), issuer.key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject.name)
        .issuer_name(issuer.name)
        .public_key(subject_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(subject_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False
        )
    )


def _issue_authority(
    subject: _Party, *, issuer: _Party, start: datetime, path_length: int
) -> x509.Certificate:
    return (
        _builder(subject, issuer, start)
        .not_valid_after(start + _CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(is_authority=True), critical=True)
        .sign(issuer.key, hashes.SHA256())
    )


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=not is_authority,  # nonRepudiation, the older name
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _is_current(files: DevelopmentFiles, now: datetime) -> bool:
    try:
        leaf = x509.load_pem_x509_certificate(files.chain.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{files.chain} is missing or damaged: delete {files.directory} to have it made again."
        ) from error
    return now < leaf.not_valid_after_utc - _RENEW_BEFORE_EXPIRY


def _write(directory: Path, issued: IssuedChain) -> None:
    # mkdtemp makes the directory 0700; the rename shows it to others only when it is whole.
    temporary = Path(tempfile.mkdtemp(prefix=f".{DIRECTORY_NAME}-", dir=directory.parent))
    try:
        files = DevelopmentFiles(temporary)
        for path, content in (
            (files.chain, issued.chain_pem),
            (files.key, issued.key_pem),
            (files.anchors, issued.root_pem),
        ):
            path.touch(mode=0o600)
            path.write_bytes(content)
        temporary.rename(directory)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file closes, also by a crash
        yield
