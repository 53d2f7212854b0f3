"""Infer messages over gRPC, with raw or typed contents (stops 1 and 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from service.errors import InvalidRequest
from service.oip.generated import open_inference_grpc_pb2 as pb
from service.oip.messages import InferRequest, refuse_twice, refuse_unknown
from service.oip.raw import from_raw, raw_pieces
from service.oip.tensors import Datatype, Tensor, read_header, show, with_values, wrong_count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.oip.messages import InferResponse, Parameter
    from service.oip.tensors import TensorHeader, TensorLimits

    InputMessage = pb.ModelInferRequest.InferInputTensor

_FIELDS: Mapping[Datatype, str] = {
    Datatype.BOOL: "bool_contents",
    Datatype.INT8: "int_contents",
    Datatype.INT16: "int_contents",
    Datatype.INT32: "int_contents",
    Datatype.INT64: "int64_contents",
    Datatype.UINT8: "uint_contents",
    Datatype.UINT16: "uint_contents",
    Datatype.UINT32: "uint_contents",
    Datatype.UINT64: "uint64_contents",
    Datatype.FP32: "fp32_contents",
    Datatype.FP64: "fp64_contents",
    Datatype.BYTES: "bytes_contents",
}
# KServe's client sends it over gRPC as well.
_BINARY_SIZE = "binary_data_size"


def read_infer(message: pb.ModelInferRequest, limits: TensorLimits) -> tuple[InferRequest, bool]:
    """Return the request, and whether its contents are raw, as the answer's then are.

    Raises InvalidRequest naming the field or tensor at fault.
    """
    if not message.inputs:
        raise InvalidRequest("'inputs' is required.", param="inputs")
    if len(message.inputs) > limits.max_tensors:
        raise InvalidRequest(f"'inputs' has more than {limits.max_tensors} items.", param="inputs")
    refuse_twice((item.name for item in message.inputs), "input")
    refuse_twice((item.name for item in message.outputs), "output")
    for wanted in message.outputs:
        refuse_unknown(wanted.parameters, (), f"parameter of output '{show(wanted.name)}'")
    raw = message.raw_input_contents
    request = InferRequest(
        model_name=message.model_name,
        model_version=message.model_version,
        id=message.id,
        parameters=_parameters(message.parameters),
        inputs=_raw_inputs(message, limits) if raw else _typed_inputs(message, limits),
        outputs=tuple(wanted.name for wanted in message.outputs),
    )
    return request, bool(raw)


def response_message(response: InferResponse, *, is_raw: bool) -> pb.ModelInferResponse:
    """Return the answer, with raw or with typed contents."""
    message = pb.ModelInferResponse(
        model_name=response.model_name, model_version=response.model_version, id=response.id
    )
    for output in response.outputs:
        tensor = message.outputs.add(
            name=output.name, datatype=output.datatype.value, shape=output.shape
        )
        if is_raw:
            message.raw_output_contents.append(b"".join(raw_pieces(output)))
        else:
            tensor.contents.CopyFrom(to_contents(output))
    return message


def from_contents(header: TensorHeader, contents: pb.InferTensorContents) -> Tensor:
    """Return the tensor whose elements are in the field for its datatype.

    Raises InvalidRequest, naming the tensor, if they are elsewhere, out of range, or not as many
    as its shape says.
    """
    shown = show(header.name)
    field = _FIELDS.get(header.datatype)
    if field is None:
        raise InvalidRequest(
            f"'{shown}' is {header.datatype}, which has no typed contents; send raw contents.",
            param=shown,
        )
    for other, _ in contents.ListFields():
        if other.name != field:
            raise InvalidRequest(
                f"'{shown}' is {header.datatype}, whose contents go into '{field}', not into "
                f"'{other.name}'.",
                param=shown,
            )
    elements = getattr(contents, field)
    if len(elements) != header.count:  # before any of them becomes an object
        raise wrong_count(header, len(elements))
    if header.datatype is Datatype.BYTES:
        return with_values(header, tuple(elements))
    return with_values(header, _numbers(header, elements))


def to_contents(tensor: Tensor) -> pb.InferTensorContents:
    """Return the elements in the field for their datatype.

    Raises InvalidRequest, naming the tensor, for FP16 and BF16, which have none.
    """
    field = _FIELDS.get(tensor.datatype)
    if field is None:
        shown = show(tensor.name)
        raise InvalidRequest(
            f"'{shown}' is {tensor.datatype}, which has no typed contents.", param=shown
        )
    values = tensor.values
    contents = pb.InferTensorContents()
    getattr(contents, field).extend(values if isinstance(values, tuple) else values.tolist())
    return contents


def _raw_inputs(message: pb.ModelInferRequest, limits: TensorLimits) -> dict[str, Tensor]:
    raw = message.raw_input_contents
    if len(raw) != len(message.inputs):
        raise InvalidRequest(
            f"There are {len(raw)} 'raw_input_contents' for {len(message.inputs)} inputs.",
            param="raw_input_contents",
        )
    inputs = {}
    for item, content in zip(message.inputs, raw, strict=True):
        if item.HasField("contents"):
            raise InvalidRequest(
                f"'{show(item.name)}' has 'contents' beside 'raw_input_contents'.",
                param=show(item.name),
            )
        header = _header(item, limits, known=(_BINARY_SIZE,))
        if _parameters(item.parameters).get(_BINARY_SIZE, len(content)) != len(content):
            raise InvalidRequest(
                f"The '{_BINARY_SIZE}' of '{show(item.name)}' is not the size of its contents.",
                param=show(item.name),
            )
        inputs[item.name] = from_raw(header, memoryview(content))
    return inputs


def _typed_inputs(message: pb.ModelInferRequest, limits: TensorLimits) -> dict[str, Tensor]:
    return {
        item.name: from_contents(_header(item, limits, known=()), item.contents)
        for item in message.inputs
    }


def _header(item: InputMessage, limits: TensorLimits, known: tuple[str, ...]) -> TensorHeader:
    refuse_unknown(item.parameters, known, f"parameter of input '{show(item.name)}'")
    return read_header(item.name, item.datatype, item.shape, limits)


def _numbers(header: TensorHeader, elements: Sequence[Any]) -> np.ndarray[Any, Any]:
    """Return the elements as an array; protobuf knows no integers of 8 and 16 bits."""
    if header.datatype.is_integer:
        bounds = np.iinfo(header.datatype.dtype)
        if any(not bounds.min <= element <= bounds.max for element in elements):
            shown = show(header.name)
            raise InvalidRequest(
                f"The data of '{shown}' must hold numbers of {header.datatype}.", param=shown
            )
    return np.array(elements, header.datatype.dtype)


def _parameters(parameters: Mapping[str, pb.InferParameter]) -> dict[str, Parameter]:
    values: dict[str, Parameter] = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is None:
            raise InvalidRequest(f"The parameter '{show(name)}' has no value.", param=show(name))
        values[name] = getattr(parameter, choice)
    return values
