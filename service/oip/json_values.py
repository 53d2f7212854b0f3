"""Tensor elements as JSON (stops 1 and 10)."""

from __future__ import annotations

import base64
import binascii
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from service.errors import InvalidRequest
from service.oip.tensors import Datatype, Tensor, show, with_values, wrong_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.oip.tensors import TensorHeader, Values

# What the protocol gives no JSON form.
_RAW_ONLY = frozenset({Datatype.FP16, Datatype.BF16})


def from_json(header: TensorHeader, data: Any, *, is_base64: bool = False) -> Tensor:
    """Return the tensor whose elements are `data`: a flat list, or lists nested as its shape is.

    `is_base64`: whether the elements of BYTES are base64 rather than text, which becomes UTF-8.
    Raises InvalidRequest, naming the tensor, for anything that is not of its datatype and shape.
    """
    shown = show(header.name)
    if header.datatype in _RAW_ONLY:
        raise InvalidRequest(
            f"'{shown}' is {header.datatype}, which has no JSON form; send binary data.",
            param=shown,
        )
    if not isinstance(data, list):
        raise _wrong(header, "must be a list")
    if any(isinstance(item, list) for item in data):
        data = list(_flat(header, data, header.shape))
    if len(data) != header.count:
        raise wrong_count(header, len(data))
    return with_values(header, _values(header, data, is_base64=is_base64))


def to_json(tensor: Tensor) -> list[Any]:
    """Return the elements as a flat list. BYTES must be UTF-8 text; numbers must be finite.

    Raises InvalidRequest, naming the tensor, for what has no JSON form.
    """
    shown = show(tensor.name)
    if tensor.datatype in _RAW_ONLY:
        raise InvalidRequest(
            f"'{shown}' is {tensor.datatype}, which has no JSON form; ask for binary data.",
            param=shown,
        )
    if isinstance(tensor.values, tuple):
        try:
            return [element.decode("utf-8") for element in tensor.values]
        except UnicodeDecodeError:
            raise InvalidRequest(
                f"'{shown}' is not text; ask for binary data.", param=shown
            ) from None
    if not np.isfinite(tensor.values).all():
        raise InvalidRequest(
            f"'{shown}' has a number without a JSON form; ask for binary data.", param=shown
        )
    elements: list[Any] = tensor.values.tolist()
    return elements


def _flat(header: TensorHeader, data: Any, shape: tuple[int, ...]) -> Iterator[Any]:
    """Yield the innermost items; no deeper than the shape, whose sizes the lists must have."""
    if not shape:
        yield data
        return
    if not isinstance(data, list) or len(data) != shape[0]:
        raise _wrong(header, f"must be nested as its shape {list(header.shape)} is")
    for item in data:
        yield from _flat(header, item, shape[1:])


def _values(header: TensorHeader, data: list[Any], *, is_base64: bool) -> Values:
    datatype = header.datatype
    if datatype is Datatype.BYTES:
        read = _from_base64 if is_base64 else _from_text
        return tuple(read(header, item) for item in data)
    if datatype is Datatype.BOOL:
        if not all(isinstance(item, bool) for item in data):
            raise _wrong(header, "must hold true and false")
    elif datatype.is_integer:
        _check_integers(header, data)
    else:
        _check_floats(header, data)
    return np.array(data, datatype.dtype)


def _from_text(header: TensorHeader, item: Any) -> bytes:
    if not isinstance(item, str):
        raise _wrong(header, "must hold text")
    try:
        return item.encode("utf-8")
    except UnicodeEncodeError:
        raise _wrong(header, "must hold valid Unicode text") from None


def _from_base64(header: TensorHeader, item: Any) -> bytes:
    if not isinstance(item, str):
        raise _wrong(header, "must hold text in base64")
    try:
        return base64.b64decode(item, validate=True)
    except (binascii.Error, ValueError):
        raise _wrong(header, "must be in base64") from None


def _check_integers(header: TensorHeader, data: list[Any]) -> None:
    bounds = np.iinfo(header.datatype.dtype)
    for item in data:
        if not isinstance(item, int) or isinstance(item, bool):
            raise _wrong(header, "must hold whole numbers")
        if not bounds.min <= item <= bounds.max:
            raise _wrong(header, f"must hold numbers of {header.datatype}")


def _check_floats(header: TensorHeader, data: list[Any]) -> None:
    largest = float(np.finfo(header.datatype.dtype).max)
    for item in data:
        if not isinstance(item, int | float) or isinstance(item, bool):
            raise _wrong(header, "must hold numbers")
        if abs(item) > largest or not math.isfinite(item):  # in this order, for huge integers
            raise _wrong(header, f"must hold numbers of {header.datatype}")


def _wrong(header: TensorHeader, what: str) -> InvalidRequest:
    shown = show(header.name)
    return InvalidRequest(f"The data of '{shown}' {what}.", param=shown)
