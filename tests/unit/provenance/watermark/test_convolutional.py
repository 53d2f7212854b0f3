from __future__ import annotations

import numpy as np
import pytest

from service.provenance.watermark.convolutional import ConvolutionalCode, coded_length


def messages(count: int, num_bits: int) -> np.ndarray:
    return np.random.default_rng(11).integers(0, 2, (count, num_bits)).astype(np.uint8)


def coded(code: ConvolutionalCode, words: np.ndarray) -> np.ndarray:
    return np.stack([code.encode(word) for word in words])


@pytest.mark.parametrize("num_bits", [1, 32, 64])
def test_a_clean_word_decodes_to_itself(num_bits):
    code = ConvolutionalCode()
    words = messages(9, num_bits)
    soft = coded(code, words)
    assert soft.shape == (9, coded_length(num_bits))
    bits, fits = code.decode(soft)
    np.testing.assert_array_equal(bits, words)
    np.testing.assert_allclose(fits, coded_length(num_bits))


def test_the_free_distance_is_twenty():
    """The table value of this code; a mistyped generator shows here."""
    code = ConvolutionalCode()
    zero = code.encode(np.zeros(12, np.uint8))
    others = (np.arange(1, 1 << 12)[:, None] >> np.arange(12) & 1).astype(np.uint8)
    distances = [int(np.sum(code.encode(word) != zero)) for word in others]
    assert min(distances) == 20


def test_nine_hard_errors_are_always_corrected():
    code = ConvolutionalCode()
    words = messages(50, 64)
    soft = coded(code, words)
    draw = np.random.default_rng(3)
    for row in soft:
        row[draw.choice(row.size, 9, replace=False)] *= -1
    np.testing.assert_array_equal(code.decode(soft)[0], words)


def test_the_decoder_finds_the_most_likely_word():
    """Against trying all words, on soft input so noisy that the sent word often loses."""
    code = ConvolutionalCode()
    words = (np.arange(256)[:, None] >> np.arange(8) & 1).astype(np.uint8)
    book = coded(code, words)
    soft = book[::16] + np.random.default_rng(4).normal(0, 2.5, book[::16].shape)
    bits, fits = code.decode(soft.astype(np.float32))
    likelihood = soft @ book.T
    np.testing.assert_array_equal(bits, words[likelihood.argmax(axis=1)])
    np.testing.assert_allclose(fits, likelihood.max(axis=1), rtol=1e-4)


def test_an_unknown_bit_costs_nothing_but_its_share():
    code = ConvolutionalCode()
    words = messages(20, 64)
    soft = coded(code, words)
    soft[:, ::2] = 0.0
    np.testing.assert_array_equal(code.decode(soft)[0], words)
