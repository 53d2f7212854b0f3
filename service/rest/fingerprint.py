"""What makes two request bodies the same request, for whoever retries one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import InvalidRequest
from service.rest.request_body import parse_json_object

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_JSON_BYTES = 1024 * 1024

_STREAM = "stream"
_MAX_FLAG_BYTES = 16


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """`digest`: the same for bodies that mean the same. `wants_stream`: it asks for events."""

    digest: bytes
    wants_stream: bool


def fingerprint(
    path: str,
    content_type: str,
    body: Iterable[bytes],
    max_json_bytes: int = MAX_JSON_BYTES,
) -> Fingerprint:
    """Return the fingerprint of a request to `path` with `body`, in pieces of any size. Blocking.

    JSON is compared as a value, whatever the order of its members; a form by its parts, whatever
    its boundary, which clients draw anew for every attempt. What can be read as neither is
    compared as bytes; its route will refuse it anyway. So is JSON of more than `max_json_bytes`,
    which takes many times its size in memory: no route reads that much as JSON.
    """
    media_type, options = parse_options_header(content_type)
    if media_type == b"application/json":
        meaning, wants_stream = _of_json(body, max_json_bytes)
    elif media_type == b"multipart/form-data" and options.get(b"boundary"):
        meaning, wants_stream = _of_form(options[b"boundary"], body)
    else:
        meaning, wants_stream = _of_bytes(body), False
    total = hashlib.sha256(hashlib.sha256(path.encode("utf-8", "surrogatepass")).digest())
    total.update(meaning)
    return Fingerprint(total.digest(), wants_stream)


def _of_bytes(pieces: Iterable[bytes]) -> bytes:
    total = hashlib.sha256()
    for piece in pieces:
        total.update(piece)
    return total.digest()


def _of_json(body: Iterable[bytes], max_bytes: int) -> tuple[bytes, bool]:
    pieces, size_bytes = iter(body), 0
    read = []
    for piece in pieces:
        read.append(piece)
        size_bytes += len(piece)
        if size_bytes > max_bytes:
            return _of_bytes(chain(read, pieces)), False
    content = b"".join(read)
    try:
        members = parse_json_object(content)
        canonical = json.dumps(members, sort_keys=True).encode("ascii")
    except (InvalidRequest, RecursionError):
        return hashlib.sha256(content).digest(), False
    return hashlib.sha256(canonical).digest(), bool(members.get(_STREAM))


def _of_form(boundary: bytes, body: Iterable[bytes]) -> tuple[bytes, bool]:
    parts, raw = _FormParts(), hashlib.sha256()
    try:
        parser: MultipartParser | None = MultipartParser(
            boundary,
            {
                "on_part_begin": parts.begin,
                "on_header_field": parts.header,
                "on_header_value": parts.header,
                "on_header_end": parts.header_end,
                "on_part_data": parts.data,
                "on_part_end": parts.end,
                "on_end": parts.complete,
            },
        )
    except FormParserError:
        parser = None
    for piece in body:
        raw.update(piece)
        try:
            if parser is not None and not parts.is_complete:
                parser.write(piece)
        except FormParserError:
            parser = None
    if not parts.is_complete:
        return raw.digest(), False
    return parts.total.digest(), parts.wants_stream


@dataclass(slots=True)
class _FormParts:
    """Takes each part's headers and content into digests of their own, in order."""

    total: Any = field(default_factory=hashlib.sha256)
    wants_stream: bool = False
    is_complete: bool = False
    _headers: bytearray = field(default_factory=bytearray)
    _content: Any = None
    _start: bytearray = field(default_factory=bytearray)

    def begin(self) -> None:
        self._headers.clear()
        self._start.clear()
        self._content = hashlib.sha256()

    def header(self, data: bytes, start: int, end: int) -> None:
        self._headers += data[start:end]

    def header_end(self) -> None:
        self._headers += b";"

    def data(self, data: bytes, start: int, end: int) -> None:
        self._content.update(memoryview(data)[start:end])
        self._start += data[start : min(end, start + _MAX_FLAG_BYTES - len(self._start))]

    def end(self) -> None:
        self.total.update(hashlib.sha256(self._headers).digest())
        self.total.update(self._content.digest())
        _, options = parse_options_header(bytes(self._headers))
        if options.get(b"name") == _STREAM.encode():
            self.wants_stream |= bytes(self._start).strip().lower() in {b"true", b"1"}

    def complete(self) -> None:
        self.is_complete = True
