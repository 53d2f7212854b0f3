"""A picture leaves the pipeline marked, signed and recorded, or not at all."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from service.domain.identity import OutputId
from service.domain.request import Original, OutputFormat
from service.errors import EncodingFailed, LedgerFailed, SigningFailed, WatermarkFailed
from service.provenance.decode import decode_pixels
from service.provenance.pipeline import MARKING_STAGES, MarkingPipeline, MarkingSources
from tests.fakes import (
    BlindWatermarker,
    FailingSigner,
    FakeSigner,
    FakeWatermarker,
    MisreadingWatermarker,
    TamperingSigner,
    flat_pixels,
)
from tests.provenance_kit import (
    LIMITS,
    make_image,
    make_record,
    make_request,
    open_ledger,
    picture_bytes,
)

ORIGINALS = (Original(b"upload", "image/png"),)
NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path):
    ledger = open_ledger(tmp_path)
    yield ledger
    ledger.close()


def drawing(*ids: int) -> MarkingSources:
    """Draw these watermark ids in turn."""
    remaining = iter(ids)
    return MarkingSources(now=lambda: NOW, draw_bits=lambda bits: next(remaining))


@pytest.mark.parametrize("fmt", list(OutputFormat))
def test_a_marked_picture_carries_its_id_in_the_final_bytes(ledger, fmt):
    signed = MarkingPipeline(FakeWatermarker(), FakeSigner(), ledger).mark(
        make_image(), make_request(fmt)
    )
    reading = FakeWatermarker().detect(decode_pixels(signed.content, LIMITS))
    assert reading is not None
    assert reading.watermark_id == signed.watermark_id
    assert signed.watermark_profile == "sst64"
    assert signed.format is fmt


def test_what_is_handed_out_is_what_is_recorded(ledger):
    image = make_image(seed=42)
    signed = MarkingPipeline(FakeWatermarker(), FakeSigner(), ledger, sources=drawing(0xABC)).mark(
        image, make_request()
    )
    record = ledger.find_by_output(signed.output_id)
    assert record == make_record(
        output_id=signed.output_id,
        watermark_id=0xABC,
        manifest_id=signed.manifest_id,
        content_sha256=hashlib.sha256(signed.content).hexdigest(),
        pixels_sha256=image.pixels_sha256,
        width_px=96,
        height_px=96,
        size_bytes=len(signed.content),
        seed=42,
        created_at=NOW,
    )
    assert signed.content_sha256 == record.content_sha256
    assert (signed.seed, signed.created_at, signed.watermark_id) == (42, NOW, 0xABC)


def test_every_picture_gets_ids_of_its_own(ledger):
    pipeline = MarkingPipeline(FakeWatermarker(), FakeSigner(), ledger)
    signed = [pipeline.mark(make_image(), make_request()) for _ in range(5)]
    assert len({item.output_id for item in signed}) == 5
    assert len({item.watermark_id for item in signed}) == 5


def test_the_picture_passed_in_is_left_alone(ledger):
    image = make_image()
    before = image.pixels.copy()
    MarkingPipeline(FakeWatermarker(), FakeSigner(), ledger).mark(image, make_request())
    assert np.array_equal(image.pixels, before)


@pytest.mark.parametrize("needed_strength", [0, 1, 2])
def test_the_mark_is_made_stronger_until_it_comes_back(ledger, needed_strength):
    watermarker = FakeWatermarker(needed_strength=needed_strength)
    signed = MarkingPipeline(watermarker, FakeSigner(), ledger).mark(make_image(), make_request())
    assert watermarker.detect(decode_pixels(signed.content, LIMITS)) is not None


@pytest.mark.parametrize(
    "watermarker", [FakeWatermarker(needed_strength=3), BlindWatermarker(), MisreadingWatermarker()]
)
def test_a_mark_that_never_comes_back_fails_the_picture(ledger, watermarker):
    with pytest.raises(WatermarkFailed):
        MarkingPipeline(watermarker, FakeSigner(), ledger, sources=drawing(5)).mark(
            make_image(), make_request()
        )
    assert ledger.find_by_watermark(5, "sst64") == ()


def test_a_picture_too_small_for_a_mark_fails(ledger):
    with pytest.raises(WatermarkFailed):
        MarkingPipeline(FakeWatermarker(), FakeSigner(), ledger).mark(
            make_image(flat_pixels(16, 16)), make_request()
        )


def test_a_taken_id_is_drawn_again(ledger):
    ledger.record(make_record(watermark_id=5))
    signed = MarkingPipeline(FakeWatermarker(), FakeSigner(), ledger, sources=drawing(5, 6)).mark(
        make_image(), make_request()
    )
    assert signed.watermark_id == 6
    reading = FakeWatermarker().detect(decode_pixels(signed.content, LIMITS))
    assert reading is not None
    assert reading.watermark_id == 6


def test_drawing_ids_ends(ledger):
    ledger.record(make_record(watermark_id=5))
    pipeline = MarkingPipeline(FakeWatermarker(), FakeSigner(), ledger, sources=drawing(*[5] * 9))
    with pytest.raises(LedgerFailed):
        pipeline.mark(make_image(), make_request())


def test_short_ids_may_repeat(ledger):
    watermarker = FakeWatermarker(profile="sst32-small", bits=16, is_weak=True)
    pipeline = MarkingPipeline(watermarker, FakeSigner(), ledger, sources=drawing(5, 5))
    signed = [pipeline.mark(make_image(), make_request()) for _ in range(2)]
    assert [item.watermark_id for item in signed] == [5, 5]
    assert signed[0].output_id != signed[1].output_id


def test_a_signer_that_fails_fails_the_picture(ledger):
    pipeline = MarkingPipeline(
        FakeWatermarker(), FailingSigner(SigningFailed("no")), ledger, sources=drawing(5)
    )
    with pytest.raises(SigningFailed):
        pipeline.mark(make_image(), make_request())
    assert ledger.find_by_watermark(5, "sst64") == ()


@pytest.mark.parametrize(
    "instead",
    [
        picture_bytes(OutputFormat.PNG),
        picture_bytes(OutputFormat.PNG, flat_pixels(64, 64)),
        picture_bytes(OutputFormat.PNG, flat_pixels(128, 128)),
        picture_bytes(OutputFormat.PNG)[:200],
        b"",
    ],
    ids=["unmarked", "smaller", "larger", "truncated", "empty"],
)
def test_signed_bytes_that_show_another_picture_are_kept_back(ledger, instead):
    pipeline = MarkingPipeline(
        FakeWatermarker(), TamperingSigner(instead), ledger, sources=drawing(5)
    )
    with pytest.raises(SigningFailed):
        pipeline.mark(make_image(), make_request())
    assert ledger.find_by_watermark(5, "sst64") == ()


def test_pixels_that_cannot_be_encoded_fail_the_picture(ledger):
    wide = flat_pixels(65_600, 64)
    with pytest.raises(EncodingFailed):
        MarkingPipeline(FakeWatermarker(), FakeSigner(), ledger).mark(
            make_image(wide), make_request(OutputFormat.JPEG)
        )


def test_a_ledger_that_is_gone_keeps_the_picture_back(tmp_path):
    ledger = open_ledger(tmp_path / "state")
    ledger.close()
    (tmp_path / "state" / "ledger.sqlite3").unlink()
    (tmp_path / "state" / "ledger.sqlite3").mkdir()
    with pytest.raises(LedgerFailed):
        MarkingPipeline(FakeWatermarker(), FakeSigner(), ledger).mark(make_image(), make_request())
    ledger.close()


def test_every_stage_is_timed_once_a_picture(ledger):
    seen = []
    pipeline = MarkingPipeline(
        FakeWatermarker(needed_strength=2),
        FakeSigner(),
        ledger,
        observe_stage=lambda stage, seconds: seen.append((stage, seconds)),
    )
    pipeline.mark(make_image(), make_request())
    assert sorted(stage for stage, _ in seen) == sorted(MARKING_STAGES)
    assert all(seconds > 0 for _, seconds in seen)


def test_a_stage_that_fails_is_timed_as_well(ledger):
    seen = []
    pipeline = MarkingPipeline(
        FakeWatermarker(),
        FailingSigner(SigningFailed("no")),
        ledger,
        observe_stage=lambda stage, seconds: seen.append(stage),
    )
    with pytest.raises(SigningFailed):
        pipeline.mark(make_image(), make_request())
    assert seen == ["watermark", "encode", "sign"]


def test_the_output_id_source_can_be_replaced(ledger):
    sources = MarkingSources(new_output_id=lambda: OutputId("out_fixed"))
    signed = MarkingPipeline(FakeWatermarker(), FakeSigner(), ledger, sources=sources).mark(
        make_image(), make_request()
    )
    assert signed.output_id == "out_fixed"


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "created"),
        ({"originals": ORIGINALS}, "altered"),
        ({"is_preview": True}, "preview"),
        ({"originals": ORIGINALS, "is_preview": True}, "preview"),
    ],
)
def test_the_record_says_how_the_picture_came_to_be(ledger, changes, kind):
    pipeline = MarkingPipeline(FakeWatermarker(), FakeSigner(), ledger)
    signed = pipeline.mark(make_image(), replace(make_request(), **changes))
    record = ledger.find_by_output(signed.output_id)
    assert record is not None
    assert record.kind == kind


@pytest.mark.parametrize("originals", [(), ORIGINALS])
def test_mark_file_and_signer_are_told_of_the_originals(ledger, originals):
    told = []

    class Listening(FakeSigner):
        def sign(self, content, fmt, facts):
            told.append(facts)
            return super().sign(content, fmt, facts)

    class ListeningWatermarker(FakeWatermarker):
        def embed(self, pixels, watermark_id, *, is_altered=False, strength=0):
            told.append(is_altered)
            return super().embed(pixels, watermark_id, strength=strength)

    pipeline = MarkingPipeline(ListeningWatermarker(), Listening(), ledger)
    signed = pipeline.mark(make_image(), replace(make_request(), originals=originals))
    is_altered, facts = told
    assert is_altered is facts.is_altered is bool(originals)
    assert facts.originals == originals
    assert (b"/compositeWithTrainedAlgorithmicMedia" in signed.content) is bool(originals)
