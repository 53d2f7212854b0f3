"""Tensors as JSON, raw and typed: what each datatype takes and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from service.errors import InvalidRequest
from service.oip.json_values import from_json, to_json
from service.oip.raw import from_raw, raw_pieces
from service.oip.tensors import Datatype, Tensor, TensorLimits, read_header

LIMITS = TensorLimits(max_elements=8)


def header(datatype: str, *shape: int):
    return read_header("T", datatype, shape, LIMITS)


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "complaint"),
    [
        ("INT32", [2], 5, "must be a list"),
        ("INT32", [2], [1, 2, 3], "has 3 elements"),
        ("INT32", [2, 1], [[1], 2], "must be nested"),
        ("INT32", [2, 1], [[1, 2]], "must be nested"),
        ("INT32", [1, 1], [[[1]]], "whole numbers"),
        ("INT32", [1], [1.0], "whole numbers"),
        ("INT32", [1], [True], "whole numbers"),
        ("INT8", [1], [128], "numbers of INT8"),
        ("UINT64", [1], [-1], "numbers of UINT64"),
        ("BOOL", [1], [1], "true and false"),
        ("FP32", [1], ["1"], "must hold numbers"),
        ("FP32", [1], [10**400], "numbers of FP32"),
        ("FP64", [1], [float("nan")], "numbers of FP64"),
        ("BYTES", [1], [1], "must hold text"),
        ("BYTES", [1], ["\ud800"], "valid Unicode"),
        ("FP16", [1], [1.0], "no JSON form"),
        ("BF16", [1], [1.0], "no JSON form"),
    ],
)
def test_json_that_does_not_fit_is_refused(datatype, shape, data, complaint):
    with pytest.raises(InvalidRequest, match=complaint) as refusal:
        from_json(header(datatype, *shape), data)
    assert refusal.value.param == "T"


@pytest.mark.parametrize("data", [[1], ["é"], ["abc"], ["YQ==\n"]])
def test_base64_is_strict(data):
    with pytest.raises(InvalidRequest, match="base64"):
        from_json(header("BYTES", 1), data, is_base64=True)


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("T", Datatype.BYTES, (1,), (b"\xff",)),
        Tensor("T", Datatype.FP32, (1,), np.array([np.inf], np.float32)),
        Tensor("T", Datatype.FP16, (1,), np.array([1], np.float16)),
    ],
)
def test_what_json_cannot_say_is_refused(tensor):
    with pytest.raises(InvalidRequest, match="ask for binary data"):
        to_json(tensor)


def test_raw_numbers_are_little_endian():
    tensor = Tensor("T", Datatype.INT32, (2,), np.array([1, -2], ">i4"))
    assert raw_pieces(tensor) == [b"\x01\0\0\0\xfe\xff\xff\xff"]


def test_any_raw_byte_but_0_is_true():
    read = from_raw(header("BOOL", 3), memoryview(b"\x00\x01\x02"))
    assert to_json(read) == [False, True, True]


@pytest.mark.parametrize(
    ("shape", "complaint"),
    [
        ((9,), "has 9 elements; at most 8"),
        ((2**62, 2**62), "elements; at most 8"),
        ((-1,), "negative"),
        ((1,) * 5, "5 dimensions"),
    ],
)
def test_shapes_beyond_the_limits_are_refused(shape, complaint):
    with pytest.raises(InvalidRequest, match=complaint):
        header("INT32", *shape)


def test_what_a_caller_wrote_is_shown_shortened():
    with pytest.raises(InvalidRequest) as refusal:
        read_header("x" * 5000, "y" * 5000, [1], LIMITS)
    assert len(refusal.value.message) < 400
