"""What the server and a model are, as both transports say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.oip.pictures import INPUTS, OUTPUTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.spec import ModelSpec
    from service.oip.tensors import Datatype

SERVER_NAME = "mintmark"
# Triton's name for its extension; KServe's clients look for the header alone.
EXTENSIONS = ("binary_tensor_data",)
_SHAPE = [-1]  # as many as there are prompts


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """One model: its one version is its revision; every tensor has as many elements as prompts."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[Mapping[str, Any], ...]
    outputs: tuple[Mapping[str, Any], ...]


def model_metadata(spec: ModelSpec) -> ModelMetadata:
    """Return the metadata of `spec`. All inputs but PROMPT may be left out."""
    return ModelMetadata(
        name=spec.model_id,
        versions=(spec.revision,),
        platform=f"{SERVER_NAME}_{spec.family}",
        inputs=_tensors(INPUTS),
        outputs=_tensors(OUTPUTS),
    )


def _tensors(datatypes: Mapping[str, Datatype]) -> tuple[Mapping[str, Any], ...]:
    return tuple(
        {"name": name, "datatype": datatype.value, "shape": _SHAPE}
        for name, datatype in datatypes.items()
    )
