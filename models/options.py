"""How a model is found and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class LoadOptions(BaseModel):
    """The model to serve and what computes it.

    path: a diffusers pipeline folder, or a hub id such as "org/name"; None serves the embedded
        model. A hub id needs `allow_download`.
    hub_revision: the commit, tag or branch of a hub id; pin a commit in production.
    model_id: the public id; None takes it from the folder's `mintmark.json`, else its name.
    dtype: what the torch runner computes in; ONNX graphs compute in float32.
    num_threads: threads of one network call; None takes every physical core.
    allow_spinning: whether ONNX Runtime's idle threads spin; a little faster, but they take
        processor time from the rest of the service.
    verify_digests: whether every file is hashed against `SHA256SUMS` before it is read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str | None = None
    hub_revision: str | None = None
    allow_download: bool = False
    model_id: str | None = None
    runner: Literal["onnx", "torch"] = "onnx"
    device: Literal["cpu", "cuda"] = "cpu"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    num_threads: int | None = Field(default=None, ge=1, le=1024)
    allow_spinning: bool = False
    verify_digests: bool = True

    @model_validator(mode="after")
    def _check_dtype(self) -> Self:
        if self.runner == "onnx" and self.dtype != "float32":
            raise ValueError("dtype other than float32 needs runner 'torch'")
        return self

    @classmethod
    def embedded_folder(cls) -> Path:
        """Return the folder of the model that ships with the package."""
        return Path(__file__).parent / "embedded"
