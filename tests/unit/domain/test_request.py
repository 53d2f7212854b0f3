"""A request is a value: checked, unchangeable, hashable, with or without a picture in it."""

from __future__ import annotations

import numpy as np
import pytest

from service.domain.request import EditSource, Original
from tests.factories import make_request, make_source

ORIGINALS = (Original(b"file", "image/png"),)
PIXELS = np.zeros((4, 6, 3), np.uint8)


def test_sources_cannot_be_written():
    source = make_source(masked=True)
    assert source.mask is not None
    for array in (source.pixels, source.mask):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_a_request_with_a_source_can_be_compared_and_hashed():
    source = make_source(masked=True)
    first, second = make_request(source=source), make_request(source=source)
    assert first == second
    assert hash(first) == hash(second)
    assert first != make_request(source=make_source(masked=True))  # another upload


@pytest.mark.parametrize(
    "arguments",
    [
        {"strength": 0.0},
        {"strength": 1.1},
        {"strength": float("nan")},
        {"originals": ()},
        {"pixels": np.zeros((4, 6), np.uint8)},
        {"pixels": np.zeros((4, 6, 4), np.uint8)},
        {"pixels": np.zeros((4, 6, 3), np.float32)},
        {"mask": np.zeros((6, 4), np.uint8)},
        {"mask": np.zeros((4, 6), np.bool_)},
    ],
)
def test_a_source_that_makes_no_sense_is_refused(arguments):
    valid = {"pixels": PIXELS.copy(), "strength": 0.5, "originals": ORIGINALS}
    with pytest.raises(ValueError, match=r"must be|at least one"):
        EditSource(**{**valid, **arguments})
