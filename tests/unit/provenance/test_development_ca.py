"""The development authority appears once, privately and whole, and renews itself in time."""

from __future__ import annotations

import stat
import threading
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from service.errors import ConfigurationError
from service.provenance.development_ca import ensure_development_ca, issue_chain

NOW = datetime.now(UTC)


def permissions(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_are_for_the_owner_only(tmp_path):
    files = ensure_development_ca(tmp_path, NOW)
    assert permissions(files.directory) == 0o700
    for path in (files.chain, files.key, files.anchors):
        assert permissions(path) == 0o600


def test_only_whole_authorities_are_ever_visible(tmp_path):
    files = ensure_development_ca(tmp_path, NOW)
    visible = [path.name for path in tmp_path.iterdir() if path.is_dir()]
    assert visible == [files.directory.name]


def test_a_second_start_uses_the_same_keys(tmp_path):
    first = ensure_development_ca(tmp_path, NOW).key.read_bytes()
    assert ensure_development_ca(tmp_path, NOW + timedelta(days=360)).key.read_bytes() == first


def test_within_a_day_of_expiry_it_is_made_anew(tmp_path, caplog):
    first = ensure_development_ca(tmp_path, NOW).key.read_bytes()
    files = ensure_development_ca(tmp_path, NOW + timedelta(days=364, hours=1))
    assert files.key.read_bytes() != first
    assert "has expired" in caplog.text


def test_starts_at_once_agree_on_one_authority(tmp_path):
    keys = []
    barrier = threading.Barrier(6)

    def start():
        barrier.wait()
        keys.append(ensure_development_ca(tmp_path, NOW).key.read_bytes())

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 6
    assert len(set(keys)) == 1


@pytest.mark.parametrize("damage", [lambda path: path.write_text("x"), lambda path: path.unlink()])
def test_damage_is_reported_with_the_remedy(tmp_path, damage):
    files = ensure_development_ca(tmp_path, NOW)
    damage(files.chain)
    with pytest.raises(ConfigurationError, match=r"delete .*development-ca"):
        ensure_development_ca(tmp_path, NOW)


def test_a_state_directory_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match="make the state directory writable"):
        ensure_development_ca(tmp_path / "file", NOW)


def test_the_leaf_follows_the_claim_signing_profile():
    issued = issue_chain("Acme", NOW)
    leaf, intermediate = x509.load_pem_x509_certificates(issued.chain_pem)
    root = x509.load_pem_x509_certificate(issued.root_pem)
    leaf.verify_directly_issued_by(intermediate)
    intermediate.verify_directly_issued_by(root)
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert usage.value.content_commitment
    assert not usage.value.key_cert_sign
    basic = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert not basic.value.ca
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [item.dotted_string for item in purposes] == [
        "1.3.6.1.5.5.7.3.4",
        "1.3.6.1.4.1.62558.2.1",
    ]
    assert leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    assert leaf.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    assert lifetime <= timedelta(days=366)
    assert leaf.not_valid_before_utc < NOW
    assert b"BEGIN PRIVATE KEY" in issued.key_pem
