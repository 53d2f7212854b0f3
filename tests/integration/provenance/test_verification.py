"""From generated picture to verdict: what each kind of damage leaves to be found."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from service.domain.request import OutputFormat
from service.provenance.decode import DecodeLimits
from service.provenance.keys import SigningMaterial
from service.provenance.manifest import generation_manifest
from service.provenance.pipeline import MarkingPipeline
from service.provenance.signer import C2paSigner
from service.provenance.verify import VerificationTrust, Verifier
from tests.fakes import FakeWatermarker, flat_pixels
from tests.provenance_kit import (
    SYSTEM,
    actions,
    library_signed,
    make_facts,
    make_image,
    make_material,
    make_request,
    make_verifier,
    picture_bytes,
    without_metadata,
)

FORMATS = list(OutputFormat)


def foreign_material(tmp_path: Path) -> SigningMaterial:
    return make_material(tmp_path / "foreign", "Somebody else")


EDIT = actions(
    {"action": "c2pa.opened", "parameters": {"ingredientIds": ["parent"]}},
    {"action": "c2pa.color_adjustments", "when": "2026-11-24T09:00:00Z"},
)


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_picture_as_it_was_handed_out_is_ours(pipeline, verifier, fmt):
    signed = pipeline.mark(make_image(), make_request(fmt))
    report = verifier.verify(signed.content)
    assert (report.verdict, report.confidence) == ("ai_generated_by_us", "proof")
    assert report.notes == ()
    assert report.c2pa.state == "Trusted"
    assert report.c2pa.issuer == "Test organisation"
    assert report.c2pa.actions == ("c2pa.created", "c2pa.watermarked.unbound")
    assert report.c2pa.digital_source_type.endswith("trainedAlgorithmicMedia")
    assert report.c2pa.time == signed.created_at.isoformat()
    assert not report.c2pa.has_trusted_time
    assert report.c2pa.manifest_id == signed.manifest_id
    assert report.c2pa.output_id == report.watermark.output_id == signed.output_id
    assert report.c2pa.generation.provider == "Test provider"
    assert report.watermark.id == f"{signed.watermark_id:08x}"
    assert report.watermark.registered is True


def test_the_report_is_json(verifier, signed):
    report = verifier.verify(signed.content).as_dict()
    assert json.loads(json.dumps(report)) == json.loads(json.dumps(report, default=list))
    assert list(report) == ["verdict", "confidence", "c2pa", "watermark", "notes"]
    assert report["watermark"]["pose"] == {
        "rotation_degrees": 0,
        "is_mirrored": False,
        "scale": 1.0,
    }


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_changed_pixel_byte_makes_the_credentials_invalid(pipeline, verifier, fmt):
    content = bytearray(pipeline.mark(make_image(), make_request(fmt)).content)
    scan = {"png": b"IDAT", "jpeg": b"\xff\xda", "webp": b"VP8 "}[fmt.value]
    content[content.rindex(scan) + 40] ^= 1
    report = verifier.verify(bytes(content))
    assert report.verdict == "invalid_credentials"
    assert report.c2pa.present
    assert report.c2pa.failures == ("assertion.dataHash.mismatch",)


def test_a_tampered_picture_still_shows_its_watermark(verifier, signed):
    report = verifier.verify(signed.content + b"appended")
    assert report.verdict == "invalid_credentials"
    assert report.watermark.output_id == signed.output_id


def test_a_stripped_picture_is_known_by_its_watermark(verifier, signed):
    report = verifier.verify(without_metadata(signed.content))
    assert (report.verdict, report.confidence) == ("ai_generated_by_us_altered", "strong")
    assert report.c2pa.state == "Absent"
    assert not report.c2pa.present
    assert report.watermark.output_id == signed.output_id


def test_without_a_ledger_credentials_are_proof_and_a_watermark_is_a_hint(material, signed):
    with closing(make_verifier(material, ledger=None)) as offline:
        whole = offline.verify(signed.content)
        stripped = offline.verify(without_metadata(signed.content))
    assert (whole.verdict, whole.confidence) == ("ai_generated_by_us", "proof")
    assert whole.watermark.registered is None
    assert (stripped.verdict, stripped.confidence) == ("ai_generated_by_us_altered", "weak")


def test_the_served_anchors_are_enough_to_verify_offline(material, signed):
    trust = VerificationTrust(material.anchors_pem)
    limits = DecodeLimits(10**6, 10**6)
    with closing(Verifier(trust, FakeWatermarker(), None, limits)) as offline:
        assert offline.verify(signed.content).verdict == "ai_generated_by_us"


def test_a_picture_without_any_marks_is_no_evidence(verifier):
    report = verifier.verify(picture_bytes(OutputFormat.PNG))
    assert (report.verdict, report.confidence) == ("no_evidence", "none")


def test_a_forger_with_an_authority_of_his_own_is_not_us(verifier, tmp_path, signed):
    forger = foreign_material(tmp_path)
    facts = make_facts(output_id=signed.output_id)
    with closing(C2paSigner(forger, SYSTEM)) as signer:
        forged = signer.sign(picture_bytes(OutputFormat.PNG), OutputFormat.PNG, facts)
    report = verifier.verify(forged.content)
    assert (report.verdict, report.confidence) == ("ai_generated_other", "weak")
    assert report.c2pa.state == "Valid"
    assert report.c2pa.failures == ("signingCredential.untrusted",)


def test_a_trusted_other_is_not_us_even_with_our_assertion(material, ledger, tmp_path):
    other = foreign_material(tmp_path)
    both = VerificationTrust(material.anchors_pem + other.anchors_pem, material.organisation)
    with closing(C2paSigner(other, SYSTEM)) as signer:
        theirs = signer.sign(picture_bytes(OutputFormat.PNG), OutputFormat.PNG, make_facts())
    limits = DecodeLimits(10**6, 10**6)
    with closing(Verifier(both, FakeWatermarker(), ledger, limits)) as verifier:
        report = verifier.verify(theirs.content)
    assert report.c2pa.state == "Trusted"
    assert (report.verdict, report.confidence) == ("ai_generated_other", "strong")


def test_an_assertion_that_the_signer_does_not_vouch_for_counts_for_nothing(material, verifier):
    # Without "created" it is gathered: passed on from anywhere.
    manifest = generation_manifest(make_facts(), OutputFormat.PNG, SYSTEM)
    for assertion in manifest["assertions"]:
        if assertion["label"] == "org.mintmark.generation":
            assertion["created"] = False
    report = verifier.verify(library_signed(material, manifest["assertions"]))
    assert report.c2pa.state == "Trusted"
    assert report.c2pa.generation is None
    assert report.verdict == "ai_generated_other"


def test_an_edit_by_a_trusted_other_leads_back_to_our_output(material, ledger, tmp_path, signed):
    other = foreign_material(tmp_path)
    both = replace(other, anchors_pem=material.anchors_pem + other.anchors_pem)
    content = library_signed(both, [EDIT], parent=signed.content)
    with closing(make_verifier(both, ledger)) as verifier:
        report = verifier.verify(content)
    assert (report.verdict, report.confidence) == ("ai_generated_by_us_altered", "strong")
    (ingredient,) = report.c2pa.ingredients
    assert (ingredient.relationship, ingredient.state) == ("parentOf", "Trusted")
    assert ingredient.manifest_id == signed.manifest_id
    assert signed.output_id in report.notes[0]


def test_a_tampered_ingredient_is_found_below_a_trusted_signature(material, ledger, signed):
    parent = bytearray(signed.content)
    parent[parent.rindex(b"IDAT") + 40] ^= 1
    content = library_signed(material, [EDIT], parent=bytes(parent))
    with closing(make_verifier(material, ledger)) as verifier:
        report = verifier.verify(content)
    assert report.c2pa.state == "Trusted"
    (ingredient,) = report.c2pa.ingredients
    assert ingredient.state == "Invalid"
    assert "assertion.dataHash.mismatch" in ingredient.failures
    assert any("do not verify" in note for note in report.notes)
    assert report.verdict == "no_evidence"


def test_a_watermark_copied_onto_another_output_is_flagged(pipeline, verifier, material, signed):
    # Whoever can sign as us signs a picture that carries another output's mark.
    copied = FakeWatermarker().embed(flat_pixels(), signed.watermark_id)
    with closing(C2paSigner(material, SYSTEM)) as signer:
        facts = make_facts(output_id="out_other")
        content = signer.sign(
            picture_bytes(OutputFormat.PNG, copied), OutputFormat.PNG, facts
        ).content
    report = verifier.verify(content)
    assert report.verdict == "ai_generated_by_us"
    assert any("points to another output" in note for note in report.notes)


def test_short_watermarks_are_reported_as_hints(material, ledger):
    watermarker = FakeWatermarker(profile="sst32-small", bits=16, is_weak=True)
    with closing(C2paSigner(material, SYSTEM)) as signer:
        signed = MarkingPipeline(watermarker, signer, ledger).mark(make_image(), make_request())
    with closing(make_verifier(material, ledger, watermarker)) as verifier:
        report = verifier.verify(without_metadata(signed.content))
    assert (report.verdict, report.confidence) == ("ai_generated_by_us_altered", "weak")
    assert report.watermark.is_weak
    assert "hint" in report.notes[0]
