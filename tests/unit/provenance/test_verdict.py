"""Each kind of evidence leads to the verdict that docs/provenance.md tables for it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from service.provenance.report import (
    Confidence,
    CredentialReport,
    CredentialState,
    GenerationClaim,
    IngredientReport,
    Verdict,
    WatermarkReport,
)
from service.provenance.verdict import ABSENCE_NOTE, Evidence, judge
from tests.provenance_kit import make_record

AI = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
CAMERA = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
NO_CREDENTIALS = CredentialReport(CredentialState.ABSENT, present=False)
NO_WATERMARK = WatermarkReport(present=False, check="not_found")
OURS = CredentialReport(
    CredentialState.TRUSTED,
    present=True,
    issuer="Us",
    digital_source_type=AI,
    manifest_id="urn:c2pa:1",
    output_id="out_1",
    generation=GenerationClaim(output_id="out_1"),
)
FOREIGN = replace(OURS, issuer="Them", output_id=None, generation=None)
REGISTERED = WatermarkReport(
    present=True, check="passed", id="0000beef", is_weak=False, registered=True, output_id="out_1"
)
HINT = replace(REGISTERED, is_weak=True)
NOTHING = Evidence(
    credentials=NO_CREDENTIALS,
    watermark=NO_WATERMARK,
    marked_outputs=(),
    signed_output=None,
    signed_parents=(),
    content_sha256="0" * 64,
    our_organisation="Us",
)


def given(**found) -> tuple[str, str, str]:
    verdict, confidence, notes = judge(replace(NOTHING, **found))
    return verdict, confidence, " ".join(notes)


def state(report: CredentialReport, name: CredentialState) -> CredentialReport:
    return replace(report, state=name, failures=() if name == "Trusted" else ("x",))


def test_nothing_found_is_no_evidence_and_says_that_it_proves_nothing():
    assert given() == (Verdict.NO_EVIDENCE, Confidence.NONE, ABSENCE_NOTE)


def test_our_trusted_signature_is_proof():
    found = given(credentials=OURS, watermark=REGISTERED, marked_outputs=(make_record(),))
    assert found == (Verdict.BY_US, Confidence.PROOF, "")


def test_our_signature_stands_without_the_watermark_but_says_so():
    verdict, confidence, notes = given(credentials=OURS)
    assert (verdict, confidence) == (Verdict.BY_US, Confidence.PROOF)
    assert "watermark was not found" in notes


def test_trust_alone_does_not_make_it_ours():
    others = replace(OURS, issuer="Them")
    assert given(credentials=others)[:2] == (Verdict.BY_OTHERS, Confidence.STRONG)
    assert given(credentials=replace(OURS, generation=None))[0] == Verdict.BY_OTHERS


def test_anchors_of_our_own_alone_need_no_name():
    assert given(credentials=replace(OURS, issuer="X"), our_organisation=None)[0] == Verdict.BY_US


def test_a_valid_signature_of_a_stranger_is_never_ours():
    forged = state(OURS, CredentialState.VALID)
    verdict, confidence, notes = given(credentials=forged, signed_output=make_record())
    assert (verdict, confidence) == (Verdict.BY_OTHERS, Confidence.WEAK)
    assert "anyone can make such a signature" in notes


def test_bytes_as_recorded_are_ours_even_when_the_certificate_has_expired():
    expired = state(OURS, CredentialState.INVALID)
    record = make_record(content_sha256="0" * 64)
    verdict, confidence, notes = given(credentials=expired, signed_output=record)
    assert (verdict, confidence) == (Verdict.BY_US, Confidence.PROOF)
    assert "expired" in notes


def test_broken_credentials_are_invalid_whatever_else_is_found():
    verdict, confidence, _ = given(
        credentials=state(OURS, CredentialState.INVALID),
        watermark=REGISTERED,
        marked_outputs=(make_record(),),
        signed_output=make_record(),
    )
    assert (verdict, confidence) == (Verdict.INVALID_CREDENTIALS, Confidence.PROOF)


@pytest.mark.parametrize("credentials", [NO_CREDENTIALS, FOREIGN])
def test_our_registered_watermark_is_strong_without_our_signature(credentials):
    verdict, confidence, notes = given(
        credentials=credentials, watermark=REGISTERED, marked_outputs=(make_record(),)
    )
    assert (verdict, confidence) == (Verdict.BY_US_ALTERED, Confidence.STRONG)
    assert "out_1" in notes


def test_a_registered_short_watermark_is_a_hint():
    verdict, confidence, notes = given(watermark=HINT, marked_outputs=(make_record(),))
    assert (verdict, confidence) == (Verdict.BY_US_ALTERED, Confidence.WEAK)
    assert "hint" in notes


@pytest.mark.parametrize(
    ("registered", "word"), [(False, "not in this ledger"), (None, "no ledger")]
)
def test_an_unregistered_watermark_is_weak_and_says_why(registered, word):
    watermark = replace(REGISTERED, registered=registered, output_id=None)
    verdict, confidence, notes = given(watermark=watermark)
    assert (verdict, confidence) == (Verdict.BY_US_ALTERED, Confidence.WEAK)
    assert word in notes


@pytest.mark.parametrize("registered", [False, None])
def test_an_unregistered_short_watermark_is_no_evidence(registered):
    watermark = replace(HINT, registered=registered, output_id=None)
    assert given(watermark=watermark)[:2] == (Verdict.NO_EVIDENCE, Confidence.NONE)


def test_our_picture_as_a_trusted_ingredient_makes_it_altered_ours():
    verdict, confidence, notes = given(credentials=FOREIGN, signed_parents=(make_record(),))
    assert (verdict, confidence) == (Verdict.BY_US_ALTERED, Confidence.STRONG)
    assert "out_1" in notes


def test_an_ingredient_named_by_a_stranger_counts_for_nothing():
    untrusted = state(FOREIGN, CredentialState.VALID)
    verdict, _, _ = given(credentials=untrusted, signed_parents=(make_record(),))
    assert verdict == Verdict.BY_OTHERS


@pytest.mark.parametrize(
    "kind", ["trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"]
)
def test_ai_by_a_trusted_other_is_strong(kind):
    source = f"http://cv.iptc.org/newscodes/digitalsourcetype/{kind}"
    found = given(credentials=replace(FOREIGN, digital_source_type=source))
    assert found[:2] == (Verdict.BY_OTHERS, Confidence.STRONG)


@pytest.mark.parametrize("source", [CAMERA, None, "", "nonsense"])
def test_credentials_that_do_not_say_ai_are_no_evidence(source):
    verdict, confidence, notes = given(credentials=replace(FOREIGN, digital_source_type=source))
    assert (verdict, confidence) == (Verdict.NO_EVIDENCE, Confidence.NONE)
    assert "do not say" in notes


def test_a_watermark_of_another_output_than_the_credentials_is_flagged():
    other = make_record(output_id="out_2")
    verdict, _, notes = given(
        credentials=OURS,
        watermark=replace(REGISTERED, output_id="out_2"),
        marked_outputs=(other,),
        signed_output=make_record(),
    )
    assert verdict == Verdict.BY_US
    assert "points to another output" in notes


def test_a_broken_ingredient_is_reported():
    broken = IngredientReport("parentOf", CredentialState.INVALID, ("x",), "urn:c2pa:0")
    _, _, notes = given(credentials=replace(FOREIGN, ingredients=(broken,)))
    assert "do not verify" in notes


def test_pixels_that_were_not_read_are_reported():
    _, _, notes = given(
        credentials=state(OURS, CredentialState.INVALID),
        watermark=WatermarkReport(present=False, check="not_read"),
    )
    assert "could not be decoded" in notes


def test_only_cryptography_gives_by_us():
    """Over all combinations: "by us" needs our trusted signature or the recorded bytes."""
    for credentials, watermark, output in itertools.product(
        [
            NO_CREDENTIALS,
            *(state(base, name) for base in (OURS, FOREIGN) for name in CredentialState),
        ],
        [NO_WATERMARK, REGISTERED, HINT, replace(REGISTERED, registered=None)],
        [None, make_record(), make_record(content_sha256="0" * 64)],
    ):
        verdict, confidence, _ = given(
            credentials=credentials,
            watermark=watermark,
            marked_outputs=(make_record(),) if watermark.registered else (),
            signed_output=output,
        )
        is_signed = credentials.state == "Trusted" and credentials.issuer == "Us"
        is_recorded = output is not None and output.content_sha256 == "0" * 64
        assert (verdict == Verdict.BY_US) == (is_signed or is_recorded)
        assert (confidence == Confidence.NONE) == (verdict == Verdict.NO_EVIDENCE)


EDITED = replace(OURS, generation=GenerationClaim(output_id="out_1", created_or_altered="altered"))
PREVIEW = replace(OURS, generation=GenerationClaim(output_id="out_1", preview=True))
ALTERED_NOTE = "made by editing another picture"
PREVIEW_NOTE = "before it was finished"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"credentials": EDITED}, ALTERED_NOTE),
        ({"credentials": PREVIEW}, PREVIEW_NOTE),
        ({"credentials": OURS, "signed_output": make_record(kind="altered")}, ALTERED_NOTE),
        ({"watermark": REGISTERED, "marked_outputs": (make_record(kind="altered"),)}, ALTERED_NOTE),
        ({"watermark": REGISTERED, "marked_outputs": (make_record(kind="preview"),)}, PREVIEW_NOTE),
    ],
)
def test_edits_and_previews_of_ours_are_told_apart_from_pictures(found, said):
    verdict, _, notes = given(**found)
    assert verdict in {"ai_generated_by_us", "ai_generated_by_us_altered"}
    assert said in notes


@pytest.mark.parametrize(
    "found",
    [
        {"credentials": OURS},
        {"credentials": replace(EDITED, issuer="Them")},
        {"credentials": state(EDITED, CredentialState.VALID)},
        {"watermark": HINT, "marked_outputs": (make_record(kind="altered"),)},
        {"watermark": REGISTERED, "marked_outputs": (make_record(),)},
    ],
)
def test_nobody_elses_claim_and_no_hint_says_how_our_picture_came_to_be(found):
    _, _, notes = given(**found)
    assert ALTERED_NOTE not in notes
    assert PREVIEW_NOTE not in notes
