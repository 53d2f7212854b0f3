"""Whatever breaks on the way out, no picture leaves and none is recorded."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from service.domain.request import OutputFormat
from service.errors import LedgerFailed, SigningFailed, WatermarkFailed
from service.provenance.development_ca import issue_chain
from service.provenance.interface import SignedContent
from service.provenance.ledger import Ledger
from service.provenance.pipeline import MarkingPipeline, MarkingSources
from service.provenance.signer import C2paSigner
from tests.fakes import BlindWatermarker, FakeWatermarker
from tests.provenance_kit import (
    SYSTEM,
    make_image,
    make_material,
    make_request,
    make_verifier,
    open_ledger,
    without_metadata,
)

WATERMARK_ID = 0x5EED


@pytest.fixture
def material(tmp_path):
    return make_material(tmp_path / "keys")


@pytest.fixture
def ledger(tmp_path):
    with closing(open_ledger(tmp_path / "state")) as ledger:
        yield ledger


def expired(material):
    past = issue_chain("Test organisation", datetime.now(UTC) - timedelta(days=400))
    anchors = past.root_pem.decode()
    return replace(material, chain_pem=past.chain_pem, key_pem=past.key_pem, anchors_pem=anchors)


def with_another_key(material):
    key_pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return replace(material, key_pem=key_pem)


def with_other_anchors(material):
    root_pem = issue_chain("Somebody else", datetime.now(UTC)).root_pem
    return replace(material, anchors_pem=root_pem.decode())


class StrippingSigner:
    """Signs, and then loses the signature again."""

    def __init__(self, signer: C2paSigner) -> None:
        self._signer = signer

    def sign(self, content, fmt, facts):
        signed = self._signer.sign(content, fmt, facts)
        return SignedContent(without_metadata(signed.content)[:-30], signed.manifest_id)


def pipeline(signer, ledger, watermarker=None) -> MarkingPipeline:
    sources = MarkingSources(draw_bits=lambda bits: WATERMARK_ID)
    return MarkingPipeline(watermarker or FakeWatermarker(), signer, ledger, sources=sources)


def nothing_left(ledger: Ledger) -> bool:
    return ledger.find_by_watermark(WATERMARK_ID, "sst64") == ()


@pytest.mark.parametrize("fmt", list(OutputFormat))
@pytest.mark.parametrize("spoil", [expired, with_another_key, with_other_anchors])
def test_a_signature_that_does_not_verify_keeps_the_picture_back(material, ledger, spoil, fmt):
    with (
        closing(C2paSigner(spoil(material), SYSTEM)) as signer,
        pytest.raises(SigningFailed),
    ):
        pipeline(signer, ledger).mark(make_image(), make_request(fmt))
    assert nothing_left(ledger)


def test_signed_bytes_that_do_not_read_back_are_kept_back(material, ledger):
    with closing(C2paSigner(material, SYSTEM)) as signer, pytest.raises(SigningFailed):
        pipeline(StrippingSigner(signer), ledger).mark(make_image(), make_request())
    assert nothing_left(ledger)


def test_a_mark_that_does_not_decode_is_never_signed(material, ledger):
    with closing(C2paSigner(material, SYSTEM)) as signer, pytest.raises(WatermarkFailed):
        pipeline(signer, ledger, BlindWatermarker()).mark(make_image(), make_request())
    assert nothing_left(ledger)


def test_a_ledger_that_fails_keeps_a_signed_picture_back(material, ledger, tmp_path):
    with closing(sqlite3.connect(tmp_path / "state" / "ledger.sqlite3")) as connection:
        connection.execute("DROP TABLE outputs")
    with closing(C2paSigner(material, SYSTEM)) as signer, pytest.raises(LedgerFailed):
        pipeline(signer, ledger).mark(make_image(), make_request())


def test_a_ledger_that_fails_fails_the_verification(material, ledger, tmp_path):
    with closing(C2paSigner(material, SYSTEM)) as signer:
        signed = pipeline(signer, ledger).mark(make_image(), make_request())
    with closing(sqlite3.connect(tmp_path / "state" / "ledger.sqlite3")) as connection:
        connection.execute("DROP TABLE outputs")
    with closing(make_verifier(material, ledger)) as verifier, pytest.raises(LedgerFailed):
        verifier.verify(signed.content)


def test_a_closed_signer_signs_nothing(material, ledger):
    signer = C2paSigner(material, SYSTEM)
    signer.close()
    with pytest.raises(SigningFailed):
        pipeline(signer, ledger).mark(make_image(), make_request())
    assert nothing_left(ledger)


def test_eight_threads_hand_out_only_what_verifies(material, ledger):
    formats = list(OutputFormat)
    with (
        closing(C2paSigner(material, SYSTEM)) as signer,
        closing(make_verifier(material, ledger)) as verifier,
        ThreadPoolExecutor(8) as pool,
    ):
        marking = MarkingPipeline(FakeWatermarker(), signer, ledger)

        def mark_and_verify(index: int):
            signed = marking.mark(make_image(seed=index), make_request(formats[index % 3]))
            return signed, verifier.verify(signed.content)

        results = list(pool.map(mark_and_verify, range(32)))
    assert len({signed.output_id for signed, _ in results}) == 32
    for signed, report in results:
        assert (report.verdict, report.notes) == ("ai_generated_by_us", ())
        assert report.c2pa.output_id == report.watermark.output_id == signed.output_id
