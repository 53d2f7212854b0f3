"""Tensors of the Open Inference Protocol: datatypes, shapes and their bounds (stop 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

# Flat, row-major. BYTES: its elements. BF16, which numpy does not have: bit patterns, as uint16.
Values = NDArray[Any] | tuple[bytes, ...]

_SHOWN_CHARS = 60


class Datatype(StrEnum):
    """The protocol's datatypes."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    BF16 = "BF16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return how raw elements are laid out, little endian; BYTES has no such layout."""
        return np.dtype(_LAYOUTS[self])

    @property
    def is_integer(self) -> bool:
        """Tell whether elements are whole numbers. BOOL is none."""
        return "INT" in self.value


_LAYOUTS = {
    Datatype.BOOL: "?",
    Datatype.UINT8: "u1",
    Datatype.UINT16: "<u2",
    Datatype.UINT32: "<u4",
    Datatype.UINT64: "<u8",
    Datatype.INT8: "i1",
    Datatype.INT16: "<i2",
    Datatype.INT32: "<i4",
    Datatype.INT64: "<i8",
    Datatype.FP16: "<f2",
    Datatype.BF16: "<u2",
    Datatype.FP32: "<f4",
    Datatype.FP64: "<f8",
}


@dataclass(frozen=True, slots=True)
class TensorLimits:
    """What one request may hold. How many raw bytes is limited where its body is read.

    `max_json_bytes`: lower than that, because parsed JSON takes many times its size in memory.
    """

    max_elements: int
    max_json_bytes: int = 1024 * 1024
    max_tensors: int = 32
    max_rank: int = 4


@dataclass(frozen=True, slots=True)
class TensorHeader:
    """A tensor before its elements; made by `read_header`, which checks it."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """Return how many elements the shape asks for."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A tensor with its elements, `values`, as many as the shape asks for.

    Compares by identity (`eq=False`), because arrays have no single truth value.
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    values: Values

    @property
    def count(self) -> int:
        """Return how many elements there are."""
        return len(self.values)


def read_header(
    name: str, datatype: str, shape: Sequence[int], limits: TensorLimits
) -> TensorHeader:
    """Check what a caller wrote about a tensor.

    Raises InvalidRequest naming the tensor: for an unknown datatype, a negative dimension, or more
    dimensions or elements than `limits` allows.
    """
    shown = show(name)
    try:
        known = Datatype(datatype)
    except ValueError:
        names = ", ".join(Datatype)
        raise InvalidRequest(
            f"The datatype {show(datatype)!r} of '{shown}' is not one of: {names}.", param=shown
        ) from None
    if len(shape) > limits.max_rank:
        raise InvalidRequest(
            f"'{shown}' has {len(shape)} dimensions; at most {limits.max_rank} are allowed.",
            param=shown,
        )
    if any(size < 0 for size in shape):
        raise InvalidRequest(f"The shape of '{shown}' has a negative dimension.", param=shown)
    header = TensorHeader(name, known, tuple(shape))
    if header.count > limits.max_elements:
        raise InvalidRequest(
            f"'{shown}' has {header.count} elements; at most {limits.max_elements} are allowed.",
            param=shown,
        )
    return header


def with_values(header: TensorHeader, values: Values) -> Tensor:
    """Return the tensor; raises InvalidRequest if its shape asks for another number of values."""
    if len(values) != header.count:
        raise wrong_count(header, len(values))
    return Tensor(header.name, header.datatype, header.shape, values)


def wrong_count(header: TensorHeader, found: int) -> InvalidRequest:
    """Return the refusal of a tensor whose shape and data do not agree."""
    shown = show(header.name)
    return InvalidRequest(
        f"'{shown}' has {found} elements, its shape {list(header.shape)} asks for {header.count}.",
        param=shown,
    )


def show(text: str) -> str:
    """Return what a caller wrote as an error may show it: bounded."""
    return text[:_SHOWN_CHARS]
