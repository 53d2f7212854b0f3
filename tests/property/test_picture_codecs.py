"""For any picture and any damage: what is encoded comes back, what is broken is typed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.domain.request import OutputFormat, OutputOptions
from service.errors import InvalidRequest, PayloadTooLarge
from service.provenance.decode import decode_pixels
from service.provenance.encode import encode_pixels
from service.provenance.report import VerificationReport
from service.provenance.signer import C2paSigner
from tests.provenance_kit import LIMITS, SYSTEM, make_facts, make_material, make_verifier

BOUNDED = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

pictures = st.builds(
    lambda width_px, height_px, seed: np.random.default_rng(seed).integers(
        0, 256, (height_px, width_px, 3), dtype=np.uint8
    ),
    st.integers(1, 80),
    st.integers(1, 80),
    st.integers(0, 2**32 - 1),
)
options = st.builds(OutputOptions, st.sampled_from(list(OutputFormat)), st.integers(0, 100))
damages = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=4)


def damaged(content: bytes, changes, keep: float) -> bytes:
    broken = bytearray(content[: round(len(content) * keep)])
    for where, mask in changes:
        if broken:
            broken[int(where * len(broken))] ^= mask
    return bytes(broken)


def outcome(attempt: Callable[[], Any]) -> Any:
    """Return the result or the typed error; anything else goes through and fails the test."""
    try:
        return attempt()
    except (InvalidRequest, PayloadTooLarge) as error:
        return error


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    return make_material(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def signer(material):
    with closing(C2paSigner(material, SYSTEM)) as signer:
        yield signer


@pytest.fixture(scope="module")
def verifier(material):
    with closing(make_verifier(material)) as verifier:
        yield verifier


@BOUNDED
@given(pictures, options)
def test_every_picture_comes_back_in_its_size_and_png_bit_for_bit(pixels, chosen):
    decoded = decode_pixels(encode_pixels(pixels, chosen), LIMITS)
    assert decoded.shape == pixels.shape
    assert decoded.dtype == np.uint8
    if chosen.format is OutputFormat.PNG:
        assert np.array_equal(decoded, pixels)


@BOUNDED
@given(pictures, options)
def test_encoding_depends_on_nothing_but_pixels_and_options(pixels, chosen):
    assert encode_pixels(pixels, chosen) == encode_pixels(pixels.copy(), chosen)


@BOUNDED
@given(pictures, options, damages, st.floats(0, 1))
def test_any_damage_decodes_or_is_a_typed_error(pixels, chosen, changes, keep):
    content = damaged(encode_pixels(pixels, chosen), changes, keep)
    decoded = outcome(lambda: decode_pixels(content, LIMITS))
    if isinstance(decoded, np.ndarray):
        assert decoded.ndim == 3
        assert decoded.size <= LIMITS.max_pixels * 3
    else:
        assert decoded.param == "image"


@BOUNDED
@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_a_typed_error(content):
    with pytest.raises((InvalidRequest, PayloadTooLarge)):
        decode_pixels(content, LIMITS)


@BOUNDED
@given(pictures, options, damages, st.floats(0.5, 1))
def test_any_damage_to_a_signed_picture_is_reported_or_a_typed_error(
    signer, verifier, pixels, chosen, changes, keep
):
    facts = make_facts()
    signed = signer.sign(encode_pixels(pixels, chosen), chosen.format, facts).content
    report = outcome(lambda: verifier.verify(damaged(signed, changes, keep)))
    if isinstance(report, VerificationReport):
        assert (report.verdict == "ai_generated_by_us") == (report.c2pa.state == "Trusted")
    else:
        assert report.param == "image"
