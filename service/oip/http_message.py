"""Infer requests over HTTP: JSON, and the binary extension's sections behind it (stop 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.errors import InvalidRequest, PayloadTooLarge
from service.oip.json_values import from_json
from service.oip.messages import InferRequest, refuse_twice, refuse_unknown
from service.oip.pictures import PICTURES
from service.oip.raw import from_raw
from service.oip.tensors import Datatype, read_header, show
from service.rest.request_body import parse_json_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.oip.messages import Parameter
    from service.oip.tensors import Tensor, TensorLimits

_MAX_HEADER_DIGITS = 12

# KServe's client repeats the model's name of the path in the body.
_MEMBERS = ("id", "inputs", "model_name", "outputs", "parameters")
_INPUT_MEMBERS = ("data", "datatype", "name", "parameters", "shape")
_OUTPUT_MEMBERS = ("name", "parameters")

BINARY_SIZE = "binary_data_size"
CONTENT_TYPE = "content_type"
BASE64 = "base64"
_BINARY_DATA = "binary_data"
_BINARY_OUTPUT = "binary_data_output"


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """Which outputs go into binary sections: `is_binary`, unless `by_name` says otherwise."""

    is_binary: bool
    by_name: Mapping[str, bool]

    def is_binary_for(self, name: str) -> bool:
        """Tell whether the output goes into a binary section."""
        return self.by_name.get(name, self.is_binary)


@dataclass(frozen=True, slots=True)
class InferTarget:
    """What the path of an infer request says; the version is empty if it names none."""

    model_name: str
    model_version: str = ""


def read_infer(
    body: bytes, json_bytes: str | None, target: InferTarget, limits: TensorLimits
) -> tuple[InferRequest, AnswerForm]:
    """Return the request in `body` and the form in which its answer is wanted.

    `json_bytes`: the header Inference-Header-Content-Length, which says how much of the body is
    JSON; None means all of it. Raises InvalidRequest naming the field or tensor at fault, and
    PayloadTooLarge for JSON beyond the limit.
    """
    json_part, sections = _split_body(body, json_bytes)
    if len(json_part) > limits.max_json_bytes:
        raise json_too_large(limits.max_json_bytes)
    members = parse_json_object(json_part)
    refuse_unknown(members, _MEMBERS, "field of this request")
    if members.get("model_name") not in (None, target.model_name):
        raise InvalidRequest("'model_name' is not the model of the path.", param="model_name")
    parameters = dict(_parameters(members, "parameters"))
    is_binary = _flag(parameters, _BINARY_OUTPUT)
    parameters.pop(_BINARY_OUTPUT, None)
    outputs = _outputs(members)
    request = InferRequest(
        model_name=target.model_name,
        model_version=target.model_version,
        id=_text(members, "id"),
        parameters=parameters,
        inputs=_inputs(members, sections, limits),
        outputs=tuple(outputs),
    )
    by_name = {name: flag for name, flag in outputs.items() if flag is not None}
    return request, AnswerForm(bool(is_binary), by_name)


def json_too_large(max_bytes: int) -> PayloadTooLarge:
    """Return the refusal of a body whose JSON alone is too large."""
    return PayloadTooLarge(
        f"The JSON of the request is over {max_bytes} bytes. Send pictures as binary data."
    )


def _split_body(body: bytes, json_bytes: str | None) -> tuple[bytes, memoryview]:
    if json_bytes is None:
        return body, memoryview(b"")
    is_number = json_bytes.isascii() and json_bytes.isdigit()
    if not is_number or len(json_bytes) > _MAX_HEADER_DIGITS or int(json_bytes) > len(body):
        raise InvalidRequest(
            f"Inference-Header-Content-Length must be a number up to {len(body)}, the length of "
            "the body.",
            param="inference-header-content-length",
        )
    length = int(json_bytes)
    return body[:length], memoryview(body)[length:]


def _inputs(
    members: Mapping[str, Any], sections: memoryview, limits: TensorLimits
) -> dict[str, Tensor]:
    inputs: dict[str, Tensor] = {}
    listed = _objects(members, "inputs", _INPUT_MEMBERS, limits.max_tensors)
    if not listed:
        raise InvalidRequest("'inputs' is required.", param="inputs")
    refuse_twice((_name(item, "inputs") for item in listed), "input")
    for item in listed:
        tensor, size = _input(item, sections, limits)
        inputs[tensor.name] = tensor
        sections = sections[size:]
    if len(sections):
        raise InvalidRequest(
            f"The body is {len(sections)} bytes longer than its inputs say.", param="inputs"
        )
    return inputs


def _input(
    item: Mapping[str, Any], sections: memoryview, limits: TensorLimits
) -> tuple[Tensor, int]:
    """Return one input and how many bytes of `sections` it takes, from their beginning."""
    name = _name(item, "inputs")
    shown = show(name)
    header = read_header(name, _text(item, "datatype"), _shape(item, shown), limits)
    parameters = _parameters(item, shown)
    refuse_unknown(parameters, (BINARY_SIZE, CONTENT_TYPE), f"parameter of input '{shown}'")
    size, data = parameters.get(BINARY_SIZE), item.get("data")
    if (size is None) == (data is None):
        raise InvalidRequest(
            f"'{shown}' needs either 'data' or the parameter '{BINARY_SIZE}'.", param=shown
        )
    says_base64 = _says_base64(parameters, header.datatype, shown)
    if size is None:
        return from_json(header, data, is_base64=says_base64 or name in PICTURES), 0
    if says_base64:
        raise InvalidRequest(f"'{shown}' is sent as binary data, not in base64.", param=shown)
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(sections):
        raise InvalidRequest(
            f"The '{BINARY_SIZE}' of '{shown}' must be a number up to {len(sections)}, what the "
            "body still holds.",
            param=shown,
        )
    return from_raw(header, sections[:size]), size


def _says_base64(parameters: Mapping[str, Parameter], datatype: Datatype, shown: str) -> bool:
    if CONTENT_TYPE not in parameters:
        return False
    if parameters[CONTENT_TYPE] != BASE64 or datatype is not Datatype.BYTES:
        raise InvalidRequest(
            f"The '{CONTENT_TYPE}' of '{shown}' may only be '{BASE64}', for BYTES.", param=shown
        )
    return True


def _outputs(members: Mapping[str, Any]) -> dict[str, bool | None]:
    """Return the wanted outputs by name, and for each whether binary is wanted, if it says."""
    listed = _objects(members, "outputs", _OUTPUT_MEMBERS, None)
    refuse_twice((_name(item, "outputs") for item in listed), "output")
    outputs: dict[str, bool | None] = {}
    for item in listed:
        name = _name(item, "outputs")
        parameters = _parameters(item, show(name))
        refuse_unknown(parameters, (_BINARY_DATA,), f"parameter of output '{show(name)}'")
        outputs[name] = _flag(parameters, _BINARY_DATA)
    return outputs


def _objects(
    members: Mapping[str, Any], field: str, known: tuple[str, ...], max_items: int | None
) -> list[Mapping[str, Any]]:
    items = members.get(field)
    if items is None:
        return []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InvalidRequest(f"'{field}' must be a list of objects.", param=field)
    if max_items is not None and len(items) > max_items:
        raise InvalidRequest(f"'{field}' has more than {max_items} items.", param=field)
    for item in items:
        refuse_unknown(item, known, f"field of '{field}'")
    return items


def _parameters(members: Mapping[str, Any], shown: str) -> Mapping[str, Parameter]:
    parameters = members.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidRequest("'parameters' must be an object.", param=shown)
    for name, value in parameters.items():
        if not isinstance(value, bool | int | float | str):
            raise InvalidRequest(
                f"The parameter '{show(name)}' must be a string, a number or a boolean.",
                param=show(name),
            )
    return parameters


def _flag(parameters: Mapping[str, Parameter], name: str) -> bool | None:
    value = parameters.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidRequest(f"The parameter '{name}' must be true or false.", param=name)
    return value


def _name(item: Mapping[str, Any], field: str) -> str:
    name = item.get("name")
    if not isinstance(name, str):
        raise InvalidRequest(f"An item of '{field}' has no name.", param=field)
    return name


def _text(members: Mapping[str, Any], field: str) -> str:
    value = members.get(field)
    if value is not None and not isinstance(value, str):
        raise InvalidRequest(f"'{field}' must be text.", param=field)
    return value or ""


def _shape(item: Mapping[str, Any], shown: str) -> list[int]:
    shape = item.get("shape")
    if not isinstance(shape, list) or not all(
        isinstance(size, int) and not isinstance(size, bool) for size in shape
    ):
        raise InvalidRequest(f"The shape of '{shown}' must be a list of numbers.", param=shown)
    return shape
