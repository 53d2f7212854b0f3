from __future__ import annotations

import numpy as np
import pytest

from service.provenance.watermark.payload import FullLayout, HintLayout, Payload

LAYOUTS = [FullLayout(), HintLayout()]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("is_altered", [False, True])
def test_what_is_packed_is_unpacked(layout, is_altered):
    for watermark_id in (0, 1, 0xABCD, (1 << layout.id_bits) - 1):
        payload = Payload(watermark_id, is_altered)
        bits = layout.pack(payload)
        assert bits.shape == (layout.total_bits,)
        assert layout.unpack(bits) == payload


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("value", [0, 1])
def test_constant_bits_are_no_payload(layout, value):
    assert layout.unpack(np.full(layout.total_bits, value, np.uint8)) is None


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_single_wrong_bit_is_noticed(layout):
    bits = layout.pack(Payload(0x1234))
    for place in range(layout.total_bits):
        damaged = bits.copy()
        damaged[place] ^= 1
        assert layout.unpack(damaged) is None


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("excess", [-1, 0])
def test_an_id_out_of_range_is_refused(layout, excess):
    with pytest.raises(ValueError, match="watermark id"):
        layout.pack(Payload(-1 if excess else 1 << layout.id_bits))


def test_the_full_payload_is_laid_out_as_documented():
    word = int("".join(map(str, FullLayout().pack(Payload(0xDEADBEEF, is_altered=True)))), 2)
    assert word >> 61 == 1
    assert word >> 60 & 1 == 1
    assert word >> 28 & 0xFFFFFFFF == 0xDEADBEEF


def test_the_published_layout_never_changes():
    """Marks already given out must stay readable: these words are in the world."""
    full = "".join(map(str, FullLayout().pack(Payload(0x01234567))))
    hint = "".join(map(str, HintLayout().pack(Payload(0x0123))))
    assert (f"{int(full, 2):016x}", f"{int(hint, 2):08x}") == ("201234567a889d43", "0123b3a6")


def test_random_hint_words_pass_at_the_stated_rate():
    layout = HintLayout()
    words = np.random.default_rng(5).integers(0, 2, (20_000, 32)).astype(np.uint8)
    passed = sum(layout.unpack(word) is not None for word in words)
    expected = len(words) * layout.readings_per_word / 2**layout.check_bits
    assert passed <= expected + 5.0
