"""Whatever bytes a form is made of: it is read, or refused by a typed error, in bounded memory."""

from __future__ import annotations

import asyncio
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from service.errors import ServiceError
from service.rest.fingerprint import fingerprint
from service.rest.multipart import FormLimits, open_form

LIMITS = FormLimits(max_body_bytes=4000, max_file_bytes=500, max_files=3, max_fields=4)
KIND = "multipart/form-data; boundary=B"

# Pieces that mean something to a parser, mixed with anything.
TOKENS = st.sampled_from(
    [
        b"--B",
        b"--B--",
        b"\r\n",
        b"\r",
        b"\n",
        b"--",
        b"Content-Disposition: form-data",
        b"Content-Disposition: form-data; name=",
        b'; name="image"',
        b'; name="a[b]"',
        b'; name="a[]"',
        b'; filename="x"',
        b"; filename*=UTF-8''%ff",
        b'name="',
        b": ",
        b"Content-Type: image/png\r\n\r\n",
        b"\r\n\r\n",
        b"\r\n--B\r\n",
        b"\x00",
        b"\xff\xfe",
    ]
)
BODIES = st.lists(st.one_of(TOKENS, st.binary(max_size=40)), max_size=40).map(b"".join)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters='"\r\n\\[]\x00'), min_size=1)


async def read(body, sizes, kind=KIND):
    chunks, start = [], 0
    for size in sizes:
        chunks.append(body[start : start + size])
        start += size
    chunks.append(body[start:])

    async def receive():
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", kind.encode())]}
    async with open_form(Request(scope, receive), LIMITS) as form:
        files = {name: [await f.read() for f in several] for name, several in form.files.items()}
        return form.fields, files


def outcome(body, sizes, kind=KIND):
    try:
        return asyncio.run(read(body, sizes, kind))
    except ServiceError as error:
        return type(error)


@given(body=BODIES, sizes=st.lists(st.integers(1, 60), max_size=20))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_read_or_refused(body, sizes):
    assert outcome(body, sizes)
    whole = fingerprint("/p", KIND, [body])
    assert fingerprint("/p", KIND, [body[:11], body[11:]]) == whole


@given(body=BODIES, sizes=st.lists(st.integers(1, 60), max_size=20))
@settings(max_examples=100, deadline=None)
def test_how_a_body_is_cut_into_pieces_changes_nothing(body, sizes):
    assert outcome(body, sizes) == outcome(body, [])


@given(kind=st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_parameters_of_the_media_type_are_survived(kind):
    assert outcome(b"--B--\r\n", [], "multipart/form-data; " + kind) is not None


@given(
    fields=st.dictionaries(TEXTS.filter(lambda t: len(t.encode()) < 100), TEXTS, max_size=4),
    content=st.binary(max_size=500),
)
@settings(max_examples=60, deadline=None)
def test_what_is_written_as_a_form_is_read_as_it_was(fields, content):
    body = b""
    for name, value in fields.items():
        body += b'--B\r\nContent-Disposition: form-data; name="' + name.encode()
        body += b'"\r\n\r\n' + value.encode() + b"\r\n"
    body += b'--B\r\nContent-Disposition: form-data; name="image"; filename="f"\r\n\r\n'
    body += content + b"\r\n--B--\r\n"
    if b"\r\n--B" in content or len(body) > LIMITS.max_body_bytes:
        return
    if any("B" in value and "--B" in value for value in fields.values()):
        return
    assert outcome(body, [17]) == (fields, {"image": [content]})


def test_memory_is_bounded_by_what_a_form_may_keep_in_it():
    """16 MiB go to a file; what is held at once is a chunk and the first MiB."""
    head = b'--B\r\nContent-Disposition: form-data; name="image"; filename="f"\r\n\r\n'
    chunk = b"x" * 65_536
    chunks = [head, *[chunk] * 256, b"\r\n--B--\r\n"]

    async def run():
        async def receive():
            return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

        scope = {"type": "http", "method": "POST", "headers": [(b"content-type", KIND.encode())]}
        limits = FormLimits(32 << 20, 32 << 20)
        async with open_form(Request(scope, receive), limits) as form:
            return form.files["image"][0].size_bytes

    tracemalloc.start()
    try:
        assert asyncio.run(run()) == 16 << 20
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 << 20
