"""What `mintmark.json` may say about a pipeline folder; every field is optional."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from models.spec import SamplingDefaults
from models.weights import FACTS_FILE, WeightsError, read_json

if TYPE_CHECKING:
    from pathlib import Path

Size = tuple[PositiveInt, PositiveInt]


class ModelFacts(BaseModel):
    """Facts that diffusers' own files do not carry.

    model_id: the public id. defaults: what a request gets when it does not say. sizes_px: every
    (width, height) that may be asked for; default_size_px: one of them. card: public facts, any
    JSON object.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_id: str | None = Field(default=None, min_length=1, max_length=200)
    defaults: SamplingDefaults | None = None
    sizes_px: tuple[Size, ...] | None = Field(default=None, min_length=1)
    default_size_px: Size | None = None
    card: dict[str, Any] = {}


def read_facts(folder: Path) -> ModelFacts:
    """Return the folder's facts, empty without a `mintmark.json`.

    Raises WeightsError on an unknown field or a wrong type.
    """
    path = folder / FACTS_FILE
    if not path.is_file():
        return ModelFacts()
    try:
        return ModelFacts.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise WeightsError(f"{path} is not valid at {place}: {first['msg']}.") from error
