"""Infer responses over HTTP, encoded while they are sent (stop 10)."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from service.oip.http_message import BASE64, BINARY_SIZE, CONTENT_TYPE
from service.oip.json_values import to_json
from service.oip.pictures import PICTURES
from service.oip.raw import raw_pieces
from service.rest.json_answer import encode_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import Receive, Scope, Send

    from service.oip.http_message import AnswerForm
    from service.oip.messages import InferResponse
    from service.oip.tensors import Tensor

# A multiple of 3, so that the pieces' base64 forms can be joined. Encoding one piece holds the
# event loop for about 0.3 ms.
_PIECE_BYTES = 192 * 1024


@dataclass(frozen=True, slots=True)
class _Base64:
    """Bytes that go out in base64."""

    content: memoryview

    def __len__(self) -> int:
        return 4 * -(-len(self.content) // 3)

    def pieces(self) -> Iterator[bytes]:
        for start in range(0, len(self.content), _PIECE_BYTES):
            yield base64.b64encode(self.content[start : start + _PIECE_BYTES])


class TensorsAnswer(Response):
    """An infer response, its pictures in base64 or in binary sections, as `form` says.

    Encoded piece by piece, with a turn for everyone else between the pieces.
    """

    def __init__(self, response: InferResponse, form: AnswerForm) -> None:
        json_parts = list(_json_parts(response, form))
        sections = [
            piece
            for output in response.outputs
            if form.is_binary_for(output.name)
            for piece in raw_pieces(output)
        ]
        self._parts: list[bytes | _Base64] = [*json_parts, *sections]
        json_bytes = sum(map(len, json_parts))
        headers = {"content-length": str(json_bytes + sum(map(len, sections)))}
        if sections:
            headers["inference-header-content-length"] = str(json_bytes)
        media_type = "application/octet-stream" if sections else "application/json"
        super().__init__(headers=headers, media_type=media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the answer."""
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        for part in self._parts:
            for piece in [part] if isinstance(part, bytes) else part.pieces():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _json_parts(response: InferResponse, form: AnswerForm) -> Iterator[bytes | _Base64]:
    facts = {"model_name": response.model_name, "model_version": response.model_version}
    if response.id:
        facts["id"] = response.id
    yield encode_json(facts)[:-1] + b',"outputs":['
    separator = b""
    for output in response.outputs:
        yield separator
        yield from _output_parts(output, is_binary=form.is_binary_for(output.name))
        separator = b","
    yield b"]}"


def _output_parts(output: Tensor, *, is_binary: bool) -> Iterator[bytes | _Base64]:
    """Yield one output's object, with its elements in it unless they are sent in binary."""
    facts: dict[str, Any] = {
        "name": output.name,
        "datatype": output.datatype.value,
        "shape": output.shape,
    }
    if is_binary:
        facts["parameters"] = {BINARY_SIZE: sum(map(len, raw_pieces(output)))}
        yield encode_json(facts)
    elif output.name in PICTURES and isinstance(output.values, tuple):
        facts["parameters"] = {CONTENT_TYPE: BASE64}
        yield encode_json(facts)[:-1] + b',"data":'
        yield from _base64_list(output.values)
        yield b"}"
    else:
        facts["data"] = to_json(output)
        yield encode_json(facts)


def _base64_list(elements: tuple[bytes, ...]) -> Iterator[bytes | _Base64]:
    separator = b'["'
    for element in elements:
        yield separator
        yield _Base64(memoryview(element))
        separator = b'","'
    yield b'"]'
