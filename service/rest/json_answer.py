"""JSON answers that can always be encoded, and one that streams its pictures."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from starlette.types import Receive, Scope, Send

# Of an answer that is sent in pieces: bytes as they are, or a picture that is still to be encoded
# in base64, which needs no JSON escaping.
Part = bytes | memoryview

# A multiple of 3, so that the pieces' base64 forms can be joined. Encoding one piece holds the
# event loop for about 0.3 ms.
_PIECE_BYTES = 192 * 1024
_MOST_TOGETHER_BYTES = 4 * _PIECE_BYTES // 3 + 8 * 1024  # such a piece, and what is around it


def encode_json(value: Any) -> bytes:
    """Return `value` as JSON in ASCII, dataclasses included.

    ASCII, because what a caller wrote may hold lone surrogates, which have no UTF-8 form.
    """
    return json.dumps(
        value, ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=_plain
    ).encode("ascii")


def picture_object(content: bytes, members: Mapping[str, Any]) -> tuple[Part, ...]:
    """Return `{"b64_json": "…", …members}` in parts. `members`: at least one."""
    return (b'{"b64_json":"', memoryview(content), b'",' + encode_json(members)[1:])


def encoded_pieces(parts: Iterable[Part]) -> Iterator[bytes]:
    """Yield what `parts` are on the wire, none of it so long that it holds up the event loop.

    base64 and JSON encoding hold the interpreter lock, so a thread would stall the loop as much
    as the loop itself does. Pieces with a turn for everyone else between them do not, and the
    whole is never in memory. What is small leaves together: each piece is a write of its own.
    """
    gathered: list[bytes] = []
    size_bytes = 0
    for piece in _encoded(parts):
        if size_bytes + len(piece) > _MOST_TOGETHER_BYTES and gathered:
            yield b"".join(gathered)
            gathered, size_bytes = [], 0
        gathered.append(piece)
        size_bytes += len(piece)
    if gathered:
        yield b"".join(gathered)


def _encoded(parts: Iterable[Part]) -> Iterator[bytes]:
    for part in parts:
        if isinstance(part, bytes):
            yield part
            continue
        for start in range(0, len(part), _PIECE_BYTES):
            yield base64.b64encode(part[start : start + _PIECE_BYTES])


def _plain(value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: getattr(value, field.name) for field in fields}
    raise TypeError(f"{type(value).__name__} has no JSON form")


class JsonAnswer(Response):
    """A small JSON body, encoded by `encode_json`."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return encode_json(content)


class PicturesAnswer(Response):
    """`{"data": [{"b64_json": …, …}, …], …}`, encoded piece by piece while it is sent."""

    media_type = "application/json"

    def __init__(
        self, pictures: Sequence[tuple[bytes, Mapping[str, Any]]], facts: Mapping[str, Any]
    ) -> None:
        """Answer with `pictures` (encoded file, further keys of its item) and top-level `facts`."""
        self._parts = list(_parts(pictures, facts))
        length = sum(
            len(part) if isinstance(part, bytes) else 4 * -(-len(part) // 3) for part in self._parts
        )
        super().__init__(headers={"content-length": str(length)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the answer."""
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        pieces = encoded_pieces(self._parts)
        piece = next(pieces)
        for following in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0)
            piece = following
        await send({"type": "http.response.body", "body": piece, "more_body": False})


def _parts(
    pictures: Sequence[tuple[bytes, Mapping[str, Any]]], facts: Mapping[str, Any]
) -> Iterator[Part]:
    separator = b'{"data":['
    for content, item in pictures:
        yield separator
        yield from picture_object(content, item)
        separator = b","
    yield b"]," + encode_json(facts)[1:]
