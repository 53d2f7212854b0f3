"""What every peer takes and answers: the part of OpenAI's Images API that the load asks for."""

from __future__ import annotations

import base64
import time
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

GENERATIONS = "/v1/images/generations"
READY = "/readyz"


class ImagesRequest(BaseModel):
    """The body of a request. None takes the model's default; other keys are ignored.

    One picture per request, as PNG in base64: whatever else is asked for is refused.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    prompt: str
    seed: int = 0
    n: Literal[1] = 1
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    output_format: Literal["png"] = "png"
    response_format: Literal["b64_json"] = "b64_json"


def images_answer(png: bytes) -> dict[str, Any]:
    """Return the body of the answer with one picture."""
    content = base64.b64encode(png).decode("ascii")
    return {"created": int(time.time()), "data": [{"b64_json": content}]}
