"""Tensors as raw bytes: HTTP's binary extension and gRPC's `raw_*_contents` (stops 1 and 10).

Numbers are little endian, row-major, without gaps. An element of BYTES is its length as a 4-byte
little-endian number and then its bytes.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from service.errors import InvalidRequest
from service.oip.tensors import Datatype, Tensor, show, with_values, wrong_count

if TYPE_CHECKING:
    from service.oip.tensors import TensorHeader

_LENGTH = struct.Struct("<I")


def from_raw(header: TensorHeader, content: memoryview) -> Tensor:
    """Return the tensor whose elements are `content`, of which every byte must be accounted for.

    Raises InvalidRequest, naming the tensor, if `content` does not fit the datatype and shape.
    """
    if header.datatype is Datatype.BYTES:
        return with_values(header, _split(header, content))
    dtype = header.datatype.dtype
    if len(content) != header.count * dtype.itemsize:
        raise InvalidRequest(
            f"'{show(header.name)}' has {len(content)} bytes of data; shape {list(header.shape)} "
            f"of {header.datatype} takes {header.count * dtype.itemsize}.",
            param=show(header.name),
        )
    if header.datatype is Datatype.BOOL:  # any byte but 0 is true, for numpy as for others
        return with_values(header, np.frombuffer(content, np.uint8) != 0)
    return with_values(header, np.frombuffer(content, dtype))


def raw_pieces(tensor: Tensor) -> list[bytes]:
    """Return the raw form of a tensor in pieces to be joined, large elements uncopied."""
    if isinstance(tensor.values, tuple):
        pieces = []
        for element in tensor.values:
            pieces += [_LENGTH.pack(len(element)), element]
        return pieces
    return [np.ascontiguousarray(tensor.values, tensor.datatype.dtype).tobytes()]


def _split(header: TensorHeader, content: memoryview) -> tuple[bytes, ...]:
    elements: list[bytes] = []
    offset = 0
    while offset < len(content):
        if len(elements) == header.count:
            raise wrong_count(header, header.count + 1)
        start = offset + _LENGTH.size
        if start > len(content):
            raise _truncated(header)
        (length,) = _LENGTH.unpack_from(content, offset)
        offset = start + length
        if offset > len(content):
            raise _truncated(header)
        elements.append(bytes(content[start:offset]))
    return tuple(elements)


def _truncated(header: TensorHeader) -> InvalidRequest:
    shown = show(header.name)
    return InvalidRequest(f"The data of '{shown}' ends within an element.", param=shown)
