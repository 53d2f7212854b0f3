"""Makes an exported graph read its weights from the folder's own safetensors files.

An exporter stores every weight a second time, as float32. Here each such copy is replaced by
external data (file, offset, length) that points at the tensor the weight came from, followed by
a Cast if it is stored in half precision and a Transpose if the exporter had transposed it. ONNX
Runtime folds both away when it loads the graph. Matching is by content, so it can only ever
replace a value by the same value.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from models.weights import StoredTensor, WeightsError, read_safetensors_header

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_DTYPES = {
    "F16": ir.DataType.FLOAT16,
    "BF16": ir.DataType.BFLOAT16,
    "F32": ir.DataType.FLOAT,
}
# Below this a value may stay in the graph: constants of the code, not of the weights.
_SMALL_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class SharingReport:
    """What became of a graph's initializers."""

    shared_tensors: int
    inline_bytes: int


@dataclass(frozen=True, slots=True)
class _Source:
    """A stored tensor and the name of its file."""

    file_name: str
    tensor: StoredTensor


class WeightIndex:
    """Finds the stored tensor that has a given content. files: safetensors, all in one folder."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        self.folder = files[0].parent
        self._sources: dict[tuple[str, tuple[int, ...], bytes], _Source] = {}
        for file in files:
            memory = np.memmap(file, dtype=np.uint8, mode="r")
            for tensor in read_safetensors_header(file).values():
                end = tensor.offset_bytes + tensor.size_bytes
                digest = hashlib.sha256(memory[tensor.offset_bytes : end].data).digest()
                key = (tensor.dtype, tensor.shape, digest)
                self._sources.setdefault(key, _Source(file.name, tensor))

    def find(self, values: NDArray[np.float32]) -> _Source | None:
        """Return the stored tensor of this shape whose values are exactly these."""
        for dtype, stored in _lossless_forms(values):
            digest = hashlib.sha256(np.ascontiguousarray(stored).data).digest()
            source = self._sources.get((dtype, values.shape, digest))
            if source is not None:
                return source
        return None


def share_weights(model: ir.Model, index: WeightIndex) -> SharingReport:
    """Point the initializers of `model` into the files of `index`; changes `model` in place.

    Raises WeightsError if a large initializer is found in no file: it would be stored twice.
    """
    shared, inline_bytes = 0, 0
    for name, value in list(model.graph.initializers.items()):
        tensor = value.const_value
        if tensor is None:
            raise WeightsError(f"The exported graph has an initializer without a value: {name}.")
        if tensor.dtype == ir.DataType.FLOAT and _replace(model.graph, value, index):
            shared += 1
        elif tensor.nbytes > _SMALL_BYTES:
            raise WeightsError(
                f"{name} ({tensor.nbytes} bytes) of the exported graph is in no safetensors file."
            )
        else:
            inline_bytes += tensor.nbytes
    return SharingReport(shared, inline_bytes)


def _replace(graph: ir.Graph, value: ir.Value, index: WeightIndex) -> bool:
    """Replace one initializer by its stored tensor; return whether there is one."""
    assert value.const_value is not None
    values = np.asarray(value.const_value.numpy(), dtype=np.float32)
    source = index.find(values)
    is_transposed = False
    if source is None and values.ndim == 2:  # noqa: PLR2004
        source = index.find(values.T)
        is_transposed = source is not None
    if source is None:
        return False
    graph.initializers.pop(str(value.name))
    current = _external_value(str(value.name), source, index)
    graph.register_initializer(current)
    nodes = []
    for op_type, attributes in _conversion(source, is_transposed):
        node = ir.node(op_type, [current], attributes=attributes)
        current = node.outputs[0]
        current.name = f"{value.name}.{op_type.lower()}"
        nodes.append(node)
    graph.insert_before(graph[0], nodes)
    ir.convenience.replace_all_uses_with(value, current)
    return True


def _conversion(source: _Source, is_transposed: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the operators that turn the stored tensor back into the initializer."""
    if source.tensor.dtype != "F32":
        yield "Cast", {"to": int(ir.DataType.FLOAT)}
    if is_transposed:
        yield "Transpose", {"perm": [1, 0]}


def _external_value(name: str, source: _Source, index: WeightIndex) -> ir.Value:
    """Return an initializer whose content is a range of a safetensors file."""
    stored = source.tensor
    dtype, shape = _DTYPES[stored.dtype], ir.Shape(stored.shape)
    tensor = ir.ExternalTensor(
        location=source.file_name,
        offset=stored.offset_bytes,
        length=stored.size_bytes,
        dtype=dtype,
        shape=shape,
        name=name,
        base_dir=index.folder,
    )
    return ir.Value(name=name, shape=shape, type=ir.TensorType(dtype), const_value=tensor)


def _lossless_forms(values: NDArray[np.float32]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield (safetensors dtype, stored form) for each format that holds `values` exactly."""
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if np.array_equal(half.astype(np.float32), values):
        yield "F16", half
    bits = np.ascontiguousarray(values).view(np.uint32)
    if not (bits & 0xFFFF).any():
        yield "BF16", (bits >> 16).astype(np.uint16)
    yield "F32", values
