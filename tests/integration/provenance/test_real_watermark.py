"""The pipeline with the service's own watermark, end to end, in every format."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from service.domain.request import OutputFormat
from service.provenance.pipeline import MarkingPipeline
from service.provenance.signer import C2paSigner
from service.provenance.watermark import SpreadSpectrumWatermarker
from tests.fakes import flat_pixels
from tests.provenance_kit import (
    SYSTEM,
    make_image,
    make_request,
    make_verifier,
    without_metadata,
)


def icon(side_px: int = 256):
    """Draw a disc on a pale ground, the kind of picture that shows every blemish."""
    rows, columns = np.mgrid[:side_px, :side_px] - side_px / 2
    pixels = flat_pixels(side_px, side_px, value=190).copy()
    pixels[np.hypot(rows, columns) < side_px / 3] = (60, 160, 120)
    return pixels


@pytest.fixture(scope="module")
def watermarker():
    return SpreadSpectrumWatermarker()


@pytest.mark.parametrize("fmt", list(OutputFormat))
def test_a_picture_is_ours_and_stays_known_when_stripped(material, ledger, watermarker, fmt):
    with closing(C2paSigner(material, SYSTEM)) as signer:
        pipeline = MarkingPipeline(watermarker, signer, ledger)
        signed = pipeline.mark(make_image(icon()), make_request(fmt, compression=80))
    with closing(make_verifier(material, ledger, watermarker)) as verifier:
        whole = verifier.verify(signed.content)
        stripped = verifier.verify(without_metadata(signed.content))
    assert (whole.verdict, whole.confidence) == ("ai_generated_by_us", "proof")
    assert whole.watermark.output_id == signed.output_id
    assert (stripped.verdict, stripped.confidence) == ("ai_generated_by_us_altered", "strong")
    assert stripped.watermark.output_id == signed.output_id
    assert stripped.watermark.pose is not None
    assert stripped.watermark.pose.rotation_degrees == 0
