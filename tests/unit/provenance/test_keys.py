"""Keys and certificates that would not verify later stop the start, with the setting named."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from service.errors import ConfigurationError
from service.provenance.development_ca import issue_chain
from service.provenance.keys import SigningMaterial, load_signing_material
from service.provenance.options import ProvenanceOptions
from tests.provenance_kit import write_chain

NOW = datetime.now(UTC)
PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8


@pytest.fixture(scope="module")
def issued():
    return issue_chain("Acme Pictures", NOW)


@pytest.fixture
def options(issued, tmp_path):
    return write_chain(tmp_path / "keys", issued)


def load(options: ProvenanceOptions, tmp_path: Path, now: datetime = NOW) -> SigningMaterial:
    return load_signing_material(options, tmp_path / "state", now)


def problem(options: ProvenanceOptions, tmp_path: Path, now: datetime = NOW) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(options, tmp_path, now)
    return str(caught.value)


def self_made_leaf(
    *,
    is_ca: bool = False,
    usage: bool = True,
    purpose: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.EMAIL_PROTECTION,
    aki: bool = True,
    org: bool = True,
) -> tuple[bytes, bytes, bytes]:
    """Return chain, key and root of a leaf that may be wrong in one respect."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")])
    names = [x509.NameAttribute(NameOID.COMMON_NAME, "leaf")]
    if org:
        names.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme"))

    def start(subject: x509.Name, public_key: Any) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(root_name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - timedelta(hours=1))
            .not_valid_after(NOW + timedelta(days=9))
        )

    authority = x509.BasicConstraints(ca=True, path_length=None)
    root = (
        start(root_name, root_key.public_key())
        .add_extension(authority, critical=True)
        .sign(root_key, hashes.SHA256())
    )
    leaf = start(x509.Name(names), key.public_key())
    basic = x509.BasicConstraints(ca=is_ca, path_length=None)
    leaf = leaf.add_extension(basic, critical=True)
    leaf = leaf.add_extension(
        x509.KeyUsage(usage, False, not usage, False, False, False, False, False, False),
        critical=True,
    )
    if purpose is not None:
        leaf = leaf.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    if aki:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
        leaf = leaf.add_extension(identifier, critical=False)
    signed = leaf.sign(root_key, hashes.SHA256())
    return (
        signed.public_bytes(PEM),
        key.private_bytes(PEM, PKCS8, serialization.NoEncryption()),
        root.public_bytes(PEM),
    )


def test_mounted_files_are_loaded(options, issued, tmp_path):
    material = load(options, tmp_path)
    assert not material.is_development
    assert material.organisation == "Acme Pictures"
    assert material.chain_pem == issued.chain_pem
    assert material.anchors_pem == issued.root_pem.decode()
    assert material.not_after - NOW > timedelta(days=364)


def test_the_private_key_is_never_shown(options, tmp_path):
    material = load(options, tmp_path)
    assert b"PRIVATE KEY" in material.key_pem
    assert "PRIVATE KEY" not in repr(material)


def test_without_files_a_development_authority_signs(tmp_path):
    material = load(ProvenanceOptions(), tmp_path)
    assert material.is_development
    assert material.organisation == "Mintmark DEVELOPMENT, not trusted"


def test_the_development_authority_may_trust_further_roots(options, issued, tmp_path):
    extra = ProvenanceOptions(trust_anchors_path=options.trust_anchors_path)
    material = load(extra, tmp_path)
    assert material.is_development
    assert issued.root_pem.decode() in material.anchors_pem
    assert material.anchors_pem.count("BEGIN CERTIFICATE") == 2


def test_a_root_at_the_end_of_the_chain_is_left_out(options, issued, tmp_path):
    options.certificate_chain_path.write_bytes(issued.chain_pem + issued.root_pem)
    assert load(options, tmp_path).chain_pem == issued.chain_pem


@pytest.mark.parametrize("left_out", ["certificate_chain_path", "private_key_path"])
def test_key_and_certificates_come_together(options, tmp_path, left_out):
    message = problem(options.model_copy(update={left_out: None}), tmp_path)
    assert f"MINTMARK_PROVENANCE__{left_out.upper()} must be set" in message


def test_mounted_certificates_need_their_root(options, tmp_path):
    message = problem(options.model_copy(update={"trust_anchors_path": None}), tmp_path)
    assert message.startswith("MINTMARK_PROVENANCE__TRUST_ANCHORS_PATH")


@pytest.mark.parametrize(
    "field", ["certificate_chain_path", "private_key_path", "trust_anchors_path"]
)
def test_a_missing_file_is_named(options, tmp_path, field):
    getattr(options, field).unlink()
    message = problem(options, tmp_path)
    assert message.startswith(f"MINTMARK_PROVENANCE__{field.upper()}")
    assert "cannot be read" in message


@pytest.mark.parametrize(
    "field", ["certificate_chain_path", "private_key_path", "trust_anchors_path"]
)
def test_a_file_that_is_not_pem_is_named(options, tmp_path, field):
    getattr(options, field).write_bytes(b"\x30\x82 not pem")
    message = problem(options, tmp_path)
    assert message.startswith(f"MINTMARK_PROVENANCE__{field.upper()}")
    assert "PEM" in message


def test_a_sec1_key_is_refused_with_the_remedy(options, tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    options.private_key_path.write_bytes(
        key.private_bytes(
            PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    assert "openssl pkcs8" in problem(options, tmp_path)


def test_an_encrypted_key_is_refused(options, tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    secret = serialization.BestAvailableEncryption(b"secret")
    options.private_key_path.write_bytes(key.private_bytes(PEM, PKCS8, secret))
    assert "encrypted" in problem(options, tmp_path)


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()]
)
def test_a_key_that_does_not_fit_the_certificate_is_refused(options, tmp_path, key):
    options.private_key_path.write_bytes(
        key.private_bytes(PEM, PKCS8, serialization.NoEncryption())
    )
    assert "is not the key of the first certificate" in problem(options, tmp_path)


@pytest.mark.parametrize("algorithm", ["es384", "ps256", "ed25519"])
def test_an_algorithm_the_key_cannot_do_is_refused(options, tmp_path, algorithm):
    message = problem(options.model_copy(update={"algorithm": algorithm}), tmp_path)
    assert message.startswith("MINTMARK_PROVENANCE__ALGORITHM")


def test_an_expired_certificate_is_refused(options, tmp_path):
    assert "expired at" in problem(options, tmp_path, NOW + timedelta(days=370))


def test_a_certificate_of_the_future_is_refused(options, tmp_path):
    assert "is not valid before" in problem(options, tmp_path, NOW - timedelta(days=1))


def test_a_clock_a_little_behind_is_tolerated(options, tmp_path):
    assert load(options, tmp_path, NOW - timedelta(minutes=4)).subject


def test_an_expiry_within_the_warning_period_is_logged(options, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        load(options, tmp_path, NOW + timedelta(days=300))
        assert not caplog.records
        load(options, tmp_path, NOW + timedelta(days=340))
    assert "expires at" in caplog.text


def test_a_missing_intermediate_is_refused(options, issued, tmp_path):
    leaf_only = issued.chain_pem.partition(b"-----END CERTIFICATE-----\n")
    options.certificate_chain_path.write_bytes(leaf_only[0] + leaf_only[1])
    assert "is an intermediate missing?" in problem(options, tmp_path)


def test_a_chain_in_the_wrong_hands_is_refused(options, issued, tmp_path):
    other = issue_chain("Somebody else", NOW)
    mixed = issued.chain_pem.partition(b"-----END CERTIFICATE-----\n")
    intermediate = other.chain_pem.partition(b"-----END CERTIFICATE-----\n")[2]
    options.certificate_chain_path.write_bytes(mixed[0] + mixed[1] + intermediate)
    assert "is not issued by the certificate that follows it" in problem(options, tmp_path)


def test_anchors_of_somebody_else_are_refused(options, tmp_path):
    options.trust_anchors_path.write_bytes(issue_chain("Somebody else", NOW).root_pem)
    assert "MINTMARK_PROVENANCE__TRUST_ANCHORS_PATH has issued" in problem(options, tmp_path)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"is_ca": True}, "is a certificate authority"),
        ({"usage": False}, "lacks the key usage digitalSignature"),
        ({"purpose": None}, "lacks the extended key usage"),
        ({"purpose": ExtendedKeyUsageOID.SERVER_AUTH}, "lacks the extended key usage"),
        ({"aki": False}, "lacks the extension AuthorityKeyIdentifier"),
        ({"org": False}, "names no organisation"),
    ],
)
def test_a_leaf_outside_the_profile_is_refused(options, issued, tmp_path, wrong, complaint):
    chain_pem, key_pem, root_pem = self_made_leaf(**wrong)
    write_chain(
        tmp_path / "keys",
        replace(issued, chain_pem=chain_pem, key_pem=key_pem, root_pem=root_pem),
    )
    assert complaint in problem(options, tmp_path)


def test_the_same_leaf_within_the_profile_is_accepted(options, issued, tmp_path):
    chain_pem, key_pem, root_pem = self_made_leaf()
    write_chain(
        tmp_path / "keys",
        replace(issued, chain_pem=chain_pem, key_pem=key_pem, root_pem=root_pem),
    )
    assert load(options, tmp_path).organisation == "Acme"
