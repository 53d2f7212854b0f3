"""Signed pictures read Trusted with the anchors we serve, through the library alone."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
from c2pa import Context, Reader
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from service.domain.request import OutputFormat, OutputOptions
from service.errors import ConfigurationError, SigningFailed
from service.provenance.development_ca import issue_chain
from service.provenance.encode import encode_pixels
from service.provenance.keys import load_signing_material
from service.provenance.options import ProvenanceOptions
from service.provenance.signer import C2paSigner
from tests.fakes import flat_pixels
from tests.provenance_kit import SYSTEM, make_facts

FORMATS = list(OutputFormat)


@pytest.fixture(scope="module")
def signer(material):
    with closing(C2paSigner(material, SYSTEM)) as signer:
        yield signer


def read(content: bytes, mime_type: str, anchors_pem: str) -> Any:
    """Read as any other program would: the library, the anchors, nothing of ours."""
    settings = {"trust": {"trust_anchors": anchors_pem}, "verify": {"ocsp_fetch": False}}
    with (
        Context.from_dict(settings) as context,
        Reader(mime_type, BytesIO(content), context=context) as reader,
    ):
        return json.loads(reader.json())


def encoded(fmt: OutputFormat) -> bytes:
    return encode_pixels(flat_pixels(), OutputOptions(fmt))


@pytest.mark.parametrize("fmt", FORMATS)
def test_any_reader_with_our_anchors_trusts_the_picture(signer, material, fmt):
    signed = signer.sign(encoded(fmt), fmt, make_facts())
    store = read(signed.content, fmt.mime_type, material.anchors_pem)
    assert store["validation_state"] == "Trusted"
    assert store["validation_results"]["activeManifest"]["failure"] == []
    assert store["active_manifest"] == signed.manifest_id
    assert signed.manifest_id.startswith("urn:c2pa:")


def test_the_manifest_arrives_as_it_was_meant(signer, material):
    signed = signer.sign(encoded(OutputFormat.PNG), OutputFormat.PNG, make_facts())
    store = read(signed.content, "image/png", material.anchors_pem)
    manifest = store["manifests"][signed.manifest_id]
    assertions = {item["label"]: item for item in manifest["assertions"]}
    assert all(item["created"] for item in assertions.values())
    assert assertions["c2pa.actions.v2"]["data"]["allActionsIncluded"] is True
    assert assertions["org.mintmark.generation"]["data"]["output_id"] == "out_1"
    assert manifest["claim_generator_info"][0]["specVersion"] == "2.4.0"
    assert manifest["signature_info"]["issuer"] == "Test organisation"
    assert "thumbnail" not in manifest


@pytest.mark.parametrize("fmt", FORMATS)
def test_the_credentials_cost_less_than_five_kilobytes(signer, fmt):
    plain = encoded(fmt)
    assert len(signer.sign(plain, fmt, make_facts()).content) - len(plain) < 5 * 1024


@pytest.mark.parametrize("fmt", FORMATS)
def test_the_xmp_source_type_survives_signing(signer, fmt):
    signed = signer.sign(encoded(fmt), fmt, make_facts())
    assert b"Iptc4xmpExt:DigitalSourceType" in signed.content


@pytest.mark.parametrize("fmt", FORMATS)
def test_one_changed_pixel_byte_is_noticed(signer, material, fmt):
    content = bytearray(signer.sign(encoded(fmt), fmt, make_facts()).content)
    pixels_start = {"png": b"IDAT", "jpeg": b"\xff\xda", "webp": b"VP8 "}[fmt.value]
    content[content.rindex(pixels_start) + 40] ^= 1
    store = read(bytes(content), fmt.mime_type, material.anchors_pem)
    assert store["validation_state"] == "Invalid"
    codes = {item["code"] for item in store["validation_results"]["activeManifest"]["failure"]}
    assert "assertion.dataHash.mismatch" in codes


def test_other_anchors_do_not_trust_the_picture(signer):
    signed = signer.sign(encoded(OutputFormat.PNG), OutputFormat.PNG, make_facts())
    other = issue_chain("Somebody else", datetime.now(UTC)).root_pem.decode()
    assert read(signed.content, "image/png", other)["validation_state"] == "Valid"


def test_the_development_authority_signs_trusted(tmp_path):
    material = load_signing_material(ProvenanceOptions(), tmp_path)
    with closing(C2paSigner(material, SYSTEM)) as signer:
        signer.self_test()
        signed = signer.sign(encoded(OutputFormat.JPEG), OutputFormat.JPEG, make_facts())
    store = read(signed.content, "image/jpeg", material.anchors_pem)
    assert store["validation_state"] == "Trusted"
    issuer = store["manifests"][signed.manifest_id]["signature_info"]["issuer"]
    assert issuer == "Mintmark DEVELOPMENT, not trusted"


def test_the_self_test_passes_with_good_keys(signer):
    signer.self_test()


def test_a_key_that_does_not_fit_stops_the_start(material):
    # Loading finds this too; the library itself would sign with it without complaint.
    key_pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with (
        closing(C2paSigner(replace(material, key_pem=key_pem), SYSTEM)) as signer,
        pytest.raises(ConfigurationError, match="does not verify"),
    ):
        signer.self_test()


def test_a_root_that_does_not_fit_stops_the_start(material):
    other = issue_chain("Somebody else", datetime.now(UTC)).root_pem.decode()
    with (
        closing(C2paSigner(replace(material, anchors_pem=other), SYSTEM)) as signer,
        pytest.raises(ConfigurationError, match="does not verify"),
    ):
        signer.self_test()


def test_an_expired_certificate_signs_nothing(material):
    past = issue_chain("Test organisation", datetime.now(UTC) - timedelta(days=400))
    expired = replace(
        material,
        chain_pem=past.chain_pem,
        key_pem=past.key_pem,
        anchors_pem=past.root_pem.decode(),
    )
    with closing(C2paSigner(expired, SYSTEM)) as signer:
        with pytest.raises(SigningFailed):
            signer.sign(encoded(OutputFormat.PNG), OutputFormat.PNG, make_facts())
        with pytest.raises(ConfigurationError):
            signer.self_test()


def test_a_key_the_library_cannot_use_stops_the_start(material):
    with pytest.raises(ConfigurationError, match="cannot be used"):
        C2paSigner(replace(material, key_pem=b"nothing"), SYSTEM)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_not_signed(signer, content):
    with pytest.raises(SigningFailed) as caught:
        signer.sign(content, OutputFormat.PNG, make_facts())
    assert caught.value.message == "The picture could not be signed."


def test_eight_threads_sign_at_once(signer, material):
    contents = {fmt: encoded(fmt) for fmt in FORMATS}

    def sign(index: int) -> tuple[str, str]:
        fmt = FORMATS[index % 3]
        signed = signer.sign(contents[fmt], fmt, make_facts(output_id=f"out_{index}"))
        store = read(signed.content, fmt.mime_type, material.anchors_pem)
        assertions = store["manifests"][signed.manifest_id]["assertions"]
        return store["validation_state"], assertions[1]["data"]["output_id"]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(sign, range(48)))
    assert results == [("Trusted", f"out_{index}") for index in range(48)]
