"""Reading multipart forms: every count and every length bounded, files kept off the heap (stop 1).

One reader for every route that takes files. A form never makes the server fetch anything: what is
not in the body is not read.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import InvalidRequest, PayloadTooLarge
from service.rest.form_names import FormNames
from service.rest.request_body import require_media_type

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from service.rest.form_names import FieldValue

MEDIA_TYPE = "multipart/form-data"
_SHOWN_CHARS = 60


@dataclass(frozen=True, slots=True)
class FormLimits:
    """What one form may hold. Lengths of names and file names are in bytes of UTF-8.

    `max_spooled_bytes`: how much of a file stays in memory; the rest goes to a temporary file.
    """

    max_body_bytes: int
    max_file_bytes: int
    max_files: int = 17  # sixteen pictures and a mask
    max_fields: int = 64
    max_field_bytes: int = 64 * 1024
    max_name_bytes: int = 128
    max_filename_bytes: int = 255
    max_part_headers: int = 8
    max_part_header_bytes: int = 2 * 1024
    max_spooled_bytes: int = 1024 * 1024


@dataclass(slots=True)
class UploadedFile:
    """One file of a form, open until the form is closed.

    `filename` is what the caller called it: to be shown, never to be opened.
    """

    name: str
    filename: str
    content_type: str
    spool: SpooledTemporaryFile[bytes]
    size_bytes: int = 0

    async def read(self) -> bytes:
        """Return the whole content."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> bytes:
        self.spool.seek(0)
        return self.spool.read()


@dataclass(slots=True)
class Form:
    """What a form held. `fields`: text by name, nested where the names had brackets.

    `files`: in the order they came, by name, with `image[]` and `image` being the same name.
    """

    fields: dict[str, FieldValue] = field(default_factory=dict)
    files: dict[str, list[UploadedFile]] = field(default_factory=dict)


@asynccontextmanager
async def open_form(
    request: Request, limits: FormLimits, main_part: str | None = None
) -> AsyncIterator[Form]:
    """Read the request's form; its files exist until the block ends, however it ends.

    Raises UnsupportedMediaType, PayloadTooLarge, or InvalidRequest that names the part at fault:
    `main_part` where the form as a whole cannot be read.
    """
    require_media_type(request, MEDIA_TYPE)
    reader = _FormReader(limits, main_part)
    try:
        yield await reader.read(request)
    finally:
        reader.close()


@dataclass(slots=True)
class _Part:
    """The part that is being read."""

    header_name: bytearray = field(default_factory=bytearray)
    header_value: bytearray = field(default_factory=bytearray)
    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""
    file: UploadedFile | None = None
    text: bytearray = field(default_factory=bytearray)


class _FormReader:
    """Feeds a push parser and keeps what it reports. For one form.

    The parser's own callbacks are synchronous; bytes for files are set aside during a call of it
    and written after, off the event loop once they go to a disk.
    """

    def __init__(self, limits: FormLimits, main_part: str | None) -> None:
        self._limits = limits
        self._main_part = main_part
        self._form = Form()
        self._names = FormNames(limits.max_fields)
        self._files: list[UploadedFile] = []
        self._part = _Part()
        self._unwritten: list[tuple[UploadedFile, bytearray]] = []
        self._is_complete = False

    async def read(self, request: Request) -> Form:
        parser = self._parser(request.headers["content-type"])
        received_bytes = 0
        async for chunk in request.stream():
            received_bytes += len(chunk)
            if received_bytes > self._limits.max_body_bytes:
                raise PayloadTooLarge(f"The form is over {self._limits.max_body_bytes} bytes.")
            if self._is_complete:
                continue  # what follows the last boundary means nothing, and the parser logs it
            try:
                parser.write(chunk)
            except FormParserError:
                raise self._unreadable("is malformed") from None
            await self._write_files()
        if not self._is_complete:
            raise self._unreadable("is cut off")
        self._form.fields = self._names.fields()
        return self._form

    def close(self) -> None:
        """Give up every temporary file."""
        for file in self._files:
            file.spool.close()

    def _parser(self, content_type: str) -> MultipartParser:
        _, options = parse_options_header(content_type)
        if not options.get(b"boundary"):
            raise self._unreadable("has no boundary")
        try:
            return MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._header_name,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._data,
                    "on_part_end": self._end,
                    "on_end": self._complete,
                },
                max_header_count=self._limits.max_part_headers,
                max_header_size=self._limits.max_part_header_bytes,
            )
        except FormParserError:
            raise self._unreadable("has too long a boundary") from None

    def _begin(self) -> None:
        self._part = _Part()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._part.header_name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.header_value += data[start:end]

    def _header_end(self) -> None:
        part = self._part
        name = bytes(part.header_name).lower()
        if name in part.headers:
            raise self._unreadable("has a part with a header twice")
        part.headers[name] = bytes(part.header_value)
        part.header_name.clear()
        part.header_value.clear()

    def _headers_finished(self) -> None:
        part = self._part
        kind, options = parse_options_header(part.headers.get(b"content-disposition", b""))
        name = options.get(b"name")
        if kind != b"form-data" or not name:
            raise self._unreadable("has a part without a name")
        part.name = _text(name)
        if len(name) > self._limits.max_name_bytes:
            raise self._refusal("has too long a name")
        if b"filename" in options:
            self._begin_file(options[b"filename"])
        else:
            self._names.count()

    def _begin_file(self, filename: bytes) -> None:
        if len(self._files) >= self._limits.max_files:
            raise self._refusal(f"is one file too many: at most {self._limits.max_files}")
        if len(filename) > self._limits.max_filename_bytes:
            raise self._refusal("has too long a file name")
        content_type = self._part.headers.get(b"content-type", b"").decode("latin-1")
        # Closed by `close`, whatever happens in between.
        spool = SpooledTemporaryFile[bytes](self._limits.max_spooled_bytes)
        name = self._part.name.removesuffix("[]")
        file = UploadedFile(name, _text(filename), content_type, spool)
        self._files.append(file)
        self._form.files.setdefault(name, []).append(file)
        self._part.file = file

    def _data(self, data: bytes, start: int, end: int) -> None:
        part, limits = self._part, self._limits
        if part.file is None:
            part.text += data[start:end]
            if len(part.text) > limits.max_field_bytes:
                raise self._too_large(limits.max_field_bytes)
            return
        part.file.size_bytes += end - start
        if part.file.size_bytes > limits.max_file_bytes:
            raise self._too_large(limits.max_file_bytes)
        # Joined, because hostile content makes the parser report it byte by byte.
        if not self._unwritten or self._unwritten[-1][0] is not part.file:
            self._unwritten.append((part.file, bytearray()))
        self._unwritten[-1][1].extend(memoryview(data)[start:end])

    def _end(self) -> None:
        part = self._part
        if part.file is None:
            try:
                text = part.text.decode("utf-8")
            except UnicodeDecodeError:
                raise self._refusal("is not UTF-8 text") from None
            self._names.add(part.name, text)

    def _complete(self) -> None:
        self._is_complete = True

    async def _write_files(self) -> None:
        for file, piece in self._unwritten:
            if file.size_bytes > self._limits.max_spooled_bytes:
                await asyncio.to_thread(file.spool.write, piece)
            else:
                file.spool.write(piece)
        self._unwritten.clear()

    def _refusal(self, problem: str) -> InvalidRequest:
        name = self._part.name[:_SHOWN_CHARS]
        return InvalidRequest(f"'{name}' {problem}.", param=name)

    def _too_large(self, limit_bytes: int) -> PayloadTooLarge:
        name = self._part.name[:_SHOWN_CHARS]
        return PayloadTooLarge(f"'{name}' is over {limit_bytes} bytes.", param=name)

    def _unreadable(self, problem: str) -> InvalidRequest:
        name = self._part.name[:_SHOWN_CHARS]
        where = f" at the part '{name}'" if name else ""
        return InvalidRequest(f"The form {problem}{where}.", param=name or self._main_part)


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
