"""How a model is found and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

# What a model's folder is called with this at the end holds its sibling that needs few steps.
_FEW_STEP_SUFFIX: Final = "_few_step"


def few_step_sibling(folder: Path) -> Path:
    """Return where the few-step sibling of the model in `folder` lies."""
    return folder.with_name(f"{folder.name}{_FEW_STEP_SUFFIX}")


class LoadOptions(BaseModel):
    """The models to serve and what computes them.

    path: a diffusers pipeline folder, or a hub id such as "org/name"; None serves the embedded
        model. A hub id needs `allow_download`.
    also: a JSON list of further folders or hub ids to serve beside it, each under the id from its
        own `mintmark.json`, else its name. A hub id may end in "@" and a revision. None serves the
        embedded model's few-step sibling beside it, if it is there, and nothing beside others.
    hub_revision: the commit, tag or branch of a hub id in `path`; pin a commit in production.
    model_id: the public id of the first model; None takes it from the folder's `mintmark.json`,
        else its name.
    dtype: what the torch runner computes in; ONNX graphs compute in float32.
    num_threads: threads of one network call; None takes every physical core.
    allow_spinning: whether ONNX Runtime's idle threads spin; a little faster, but they take
        processor time from the rest of the service.
    verify_digests: whether every file is hashed against `SHA256SUMS` before it is read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str | None = None
    also: tuple[str, ...] | None = None
    hub_revision: str | None = None
    allow_download: bool = False
    model_id: str | None = None
    runner: Literal["onnx", "torch"] = "onnx"
    device: Literal["cpu", "cuda"] = "cpu"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    num_threads: int | None = Field(default=None, ge=1, le=1024)
    allow_spinning: bool = False
    verify_digests: bool = True

    @field_validator("also", mode="before")
    @classmethod
    def _check_also(cls, value: Any) -> Any:
        if value is not None and not isinstance(value, list | tuple):
            raise ValueError('must be a JSON list, such as ["/models/another"]')
        return value

    @model_validator(mode="after")
    def _check_dtype(self) -> Self:
        if self.runner == "onnx" and self.dtype != "float32":
            raise ValueError("dtype other than float32 needs runner 'torch'")
        return self

    @classmethod
    def embedded_folder(cls) -> Path:
        """Return the folder of the model that ships with the package."""
        return Path(__file__).parent / "embedded"

    def each(self) -> tuple[LoadOptions, ...]:
        """Return the options of every model to serve, one model each, the default one first."""
        also = self.also
        if also is None:
            sibling = few_step_sibling(self.embedded_folder())
            also = (str(sibling),) if self.path is None and sibling.is_dir() else ()
        first = self.model_copy(update={"also": ()})
        return (first, *(self._further(place) for place in also))

    def _further(self, place: str) -> LoadOptions:
        """Return the same options for another folder or hub id."""
        path, _, revision = (place, "", "") if Path(place).exists() else place.partition("@")
        own = {"path": path, "hub_revision": revision or None, "model_id": None, "also": ()}
        return self.model_copy(update=own)
