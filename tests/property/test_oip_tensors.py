"""Tensors survive every form they travel in, and nothing malformed gets further than a refusal."""

from __future__ import annotations

import base64
import json
import math
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidRequest
from service.oip import http_message, proto_message
from service.oip.generated import open_inference_grpc_pb2 as pb
from service.oip.http_message import InferTarget
from service.oip.json_values import from_json, to_json
from service.oip.proto_message import from_contents, to_contents
from service.oip.raw import from_raw, raw_pieces
from service.oip.tensors import Datatype, Tensor, TensorHeader, TensorLimits, read_header

LIMITS = TensorLimits(max_elements=24)
HALVES = frozenset({Datatype.FP16, Datatype.BF16})
WITH_JSON = sorted(set(Datatype) - HALVES)


def shapes(max_elements: int = 24):
    return st.lists(st.integers(0, 5), max_size=4).filter(
        lambda shape: math.prod(shape) <= max_elements
    )


@st.composite
def tensors(draw, datatypes=tuple(Datatype), is_text: bool = False, is_finite: bool = False):
    datatype = draw(st.sampled_from(datatypes))
    shape = tuple(draw(shapes()))
    count = math.prod(shape)
    if datatype is Datatype.BYTES:
        element = st.text(max_size=8).map(str.encode) if is_text else st.binary(max_size=8)
        values: Any = tuple(draw(st.lists(element, min_size=count, max_size=count)))
        return Tensor("T", datatype, shape, values)
    size = datatype.dtype.itemsize
    bits = draw(st.binary(min_size=count * size, max_size=count * size))
    if datatype is Datatype.BOOL:
        return Tensor("T", datatype, shape, np.frombuffer(bits, np.uint8) > 127)
    values = np.frombuffer(bits, datatype.dtype)
    if is_finite and not datatype.is_integer:
        values = np.nan_to_num(values, nan=1.5, posinf=2.5, neginf=-2.5)
    return Tensor("T", datatype, shape, values)


def header_of(tensor: Tensor) -> TensorHeader:
    return read_header(tensor.name, tensor.datatype.value, tensor.shape, LIMITS)


def raw_of(tensor: Tensor) -> bytes:
    return b"".join(raw_pieces(tensor))


def assert_same(tensor: Tensor, other: Tensor) -> None:
    assert (tensor.name, tensor.datatype, tensor.shape) == (other.name, other.datatype, other.shape)
    assert raw_of(tensor) == raw_of(other)  # bit for bit: NaN is not equal to itself


@given(tensors())
def test_raw_there_and_back(tensor):
    assert_same(from_raw(header_of(tensor), memoryview(raw_of(tensor))), tensor)


@given(tensors(WITH_JSON, is_text=True, is_finite=True))
def test_json_there_and_back(tensor):
    text = json.dumps(to_json(tensor))
    assert_same(from_json(header_of(tensor), json.loads(text)), tensor)


@given(tensors(WITH_JSON, is_text=True, is_finite=True))
def test_lists_may_be_nested_as_the_shape_is(tensor):
    elements = np.empty(tensor.count, object)
    elements[:] = to_json(tensor)
    assert_same(
        from_json(
            header_of(tensor),
            elements.reshape(tensor.shape).tolist() if tensor.shape else to_json(tensor),
        ),
        tensor,
    )


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_any_bytes_travel_in_base64(elements):
    header = read_header("T", "BYTES", [len(elements)], LIMITS)
    data = [base64.b64encode(element).decode() for element in elements]
    assert from_json(header, data, is_base64=True).values == tuple(elements)


@given(tensors(WITH_JSON))
def test_typed_contents_there_and_back(tensor):
    wire = to_contents(tensor).SerializeToString()
    read = from_contents(header_of(tensor), pb.InferTensorContents.FromString(wire))
    if tensor.datatype in (Datatype.FP32, Datatype.FP64):  # a NaN stays one, whichever its bits
        assert np.array_equal(read.values, tensor.values, equal_nan=True)
    else:
        assert_same(read, tensor)


@given(tensors(tuple(HALVES)))
def test_half_floats_travel_raw_only(tensor):
    for attempt in (
        lambda: to_json(tensor),
        lambda: from_json(header_of(tensor), [1.0] * tensor.count),
        lambda: to_contents(tensor),
        lambda: from_contents(header_of(tensor), pb.InferTensorContents()),
    ):
        with pytest.raises(InvalidRequest) as refusal:
            attempt()
        assert refusal.value.param == "T"


@given(tensors(), st.binary(max_size=40))
def test_raw_bytes_are_all_accounted_for(tensor, content):
    header = header_of(tensor)
    with suppress(InvalidRequest):
        read = from_raw(header, memoryview(content))
        assert read.count == header.count
        assert tensor.datatype is Datatype.BOOL or raw_of(read) == content


@given(tensors(), st.data())
def test_a_truncated_or_longer_section_is_refused(tensor, data):
    whole = raw_of(tensor)
    cut = data.draw(st.integers(0, max(0, len(whole) - 1)))
    broken = [whole + b"\0"] if not whole else [whole[:cut], whole + b"\0"]
    for content in broken:
        with pytest.raises(InvalidRequest):
            from_raw(header_of(tensor), memoryview(content))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)
NAMES = st.sampled_from([datatype.value for datatype in Datatype] + ["", "int32", "DOUBLE"])


@given(st.text(max_size=80), NAMES, st.lists(st.integers(), max_size=6))
def test_no_header_gets_past_the_limits(name, datatype, shape):
    with suppress(InvalidRequest):
        header = read_header(name, datatype, shape, LIMITS)
        assert header.count <= LIMITS.max_elements
        assert len(header.shape) <= LIMITS.max_rank
        assert min(header.shape, default=0) >= 0


@given(tensors(), JSON, st.booleans())
def test_json_of_any_kind_is_read_or_refused(tensor, data, is_base64):
    with suppress(InvalidRequest):
        assert from_json(header_of(tensor), data, is_base64=is_base64).count == tensor.count


@given(st.sampled_from(WITH_JSON), st.sampled_from([0, 1, 3]), st.binary(max_size=60))
def test_contents_of_any_kind_are_read_or_refused(datatype, count, wire):
    contents = pb.InferTensorContents()
    with suppress(Exception):  # what protobuf cannot parse never gets to us
        contents.ParseFromString(wire)
    with suppress(InvalidRequest):
        header = read_header("T", datatype.value, [count], LIMITS)
        assert from_contents(header, contents).count == count


MEMBERS = {
    "name": st.sampled_from(["PROMPT", "SEED", "T"]) | JSON,
    "datatype": NAMES | JSON,
    "shape": st.lists(st.integers(-2, 5), max_size=3) | JSON,
    "data": JSON,
    "parameters": st.dictionaries(
        st.sampled_from(["binary_data_size", "content_type", "binary_data", "x"]),
        st.integers(-1, 20) | st.sampled_from(["base64", "png"]) | JSON,
        max_size=2,
    )
    | JSON,
}
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "inputs": st.lists(st.fixed_dictionaries({}, optional=MEMBERS), max_size=3) | JSON,
        "outputs": st.lists(st.fixed_dictionaries({}, optional=MEMBERS), max_size=2) | JSON,
        "parameters": MEMBERS["parameters"],
        "id": st.text(max_size=3) | JSON,
        "x": JSON,
    },
)


@given(BODIES, st.binary(max_size=30), st.integers(-3, 3), st.booleans())
def test_http_bodies_of_any_kind_are_read_or_refused(body, sections, lie, has_header):
    text = json.dumps(body).encode()
    length = str(len(text) + lie) if has_header else None
    with suppress(InvalidRequest):
        request, _ = http_message.read_infer(text + sections, length, InferTarget("toy"), LIMITS)
        for tensor in request.inputs.values():
            assert tensor.count == math.prod(tensor.shape)


@given(st.binary(max_size=60), st.none() | st.text(max_size=4))
def test_http_bodies_that_are_no_json_are_refused(body, length):
    with suppress(InvalidRequest):
        http_message.read_infer(body, length, InferTarget("toy"), LIMITS)


@st.composite
def proto_inputs(draw):
    contents = draw(
        st.none()
        | st.builds(
            pb.InferTensorContents,
            bytes_contents=st.lists(st.binary(max_size=3), max_size=2),
            int_contents=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=2),
            fp32_contents=st.lists(st.floats(width=32), max_size=2),
        )
    )
    return pb.ModelInferRequest.InferInputTensor(
        name=draw(st.sampled_from(["PROMPT", "T"])),
        datatype=draw(NAMES),
        shape=draw(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 2), max_size=3)),
        contents=contents,
    )


@given(
    st.lists(proto_inputs(), max_size=3),
    st.lists(
        st.binary(max_size=9) | st.binary(max_size=3).map(lambda x: struct.pack("<I", len(x)) + x),
        max_size=3,
    ),
)
def test_proto_messages_of_any_kind_are_read_or_refused(inputs, raw_contents):
    message = pb.ModelInferRequest(inputs=inputs, raw_input_contents=raw_contents)
    with suppress(InvalidRequest):
        request, is_raw = proto_message.read_infer(message, LIMITS)
        assert is_raw == bool(raw_contents)
        for tensor in request.inputs.values():
            assert tensor.count == math.prod(tensor.shape)
