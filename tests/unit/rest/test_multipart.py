"""Forms: what is read, what is refused by name, and that no temporary file stays."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from service.errors import InvalidRequest, PayloadTooLarge, ServiceError, UnsupportedMediaType
from service.rest.multipart import Form, FormLimits, open_form

LIMITS = FormLimits(
    max_body_bytes=20_000,
    max_file_bytes=4000,
    max_files=3,
    max_fields=4,
    max_field_bytes=100,
    max_name_bytes=40,
    max_filename_bytes=30,
    max_spooled_bytes=1000,
)
KIND = "multipart/form-data; boundary=B"


def part(disposition, content=b"", *more_headers):
    lines = [b"Content-Disposition: form-data" + disposition, *more_headers]
    return b"--B\r\n" + b"\r\n".join(lines) + b"\r\n\r\n" + content + b"\r\n"


def field(name, value=b"v"):
    return part(b'; name="' + name + b'"', value)


def file(name, content=b"png", filename=b"a.png"):
    disposition = b'; name="' + name + b'"; filename="' + filename + b'"'
    return part(disposition, content, b"Content-Type: image/png")


def request(body, kind=KIND, chunk_bytes=7):
    chunks = [body[start : start + chunk_bytes] for start in range(0, len(body), chunk_bytes)]

    async def receive():
        return {
            "type": "http.request",
            "body": chunks.pop(0) if chunks else b"",
            "more_body": bool(chunks),
        }

    headers = [(b"content-type", kind.encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


async def read(*parts, chunk_bytes=7, limits=LIMITS):
    """Return the fields, and the contents of the files by name."""
    body = b"".join(parts) + b"--B--\r\n"
    async with open_form(request(body, chunk_bytes=chunk_bytes), limits) as form:
        files = {
            name: [await each.read() for each in several] for name, several in form.files.items()
        }
        return form.fields, files


async def refusal(*parts, limits=LIMITS) -> ServiceError:
    with pytest.raises(ServiceError) as refused:
        await read(*parts, limits=limits)
    return refused.value


@pytest.mark.parametrize("chunk_bytes", [1, 7, 100_000])
async def test_fields_and_files_arrive_whole(chunk_bytes):
    content = bytes(range(256)) * 15  # beyond what stays in memory
    fields, files = await read(
        field(b"prompt", "ein Äpfel".encode()),
        file(b"image", content),
        field(b"n", b"2"),
        chunk_bytes=chunk_bytes,
    )
    assert fields == {"prompt": "ein Äpfel", "n": "2"}
    assert files == {"image": [content]}


async def test_openai_writes_one_file_as_image_and_several_as_image_brackets():
    _, files = await read(file(b"image[]", b"1"), file(b"image[]", b"2"), file(b"mask", b"m"))
    assert files == {"image": [b"1", b"2"], "mask": [b"m"]}
    _, files = await read(file(b"image", b"1"))
    assert files == {"image": [b"1"]}


async def test_brackets_make_lists_and_members():
    fields, _ = await read(
        field(b"lora[name]", b"x"),
        field(b"lora[scale]", b"0.5"),
        field(b"tags[]"),
        field(b"tags[]"),
    )
    assert fields == {"lora": {"name": "x", "scale": "0.5"}, "tags": ["v", "v"]}


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([field(b"a"), field(b"a")], "a"),
        ([field(b"a"), field(b"a[b]")], "a[b]"),
        ([field(b"a[b]"), field(b"a[]")], "a[]"),
        ([field(b"a[]"), field(b"a")], "a"),
        ([field(b"a[b]"), field(b"a[b]")], "a[b]"),
        ([field(b"a[")], "a["),
        ([field(b"a]b")], "a]b"),
        ([field(b"[a]")], "[a]"),
        ([field(b"a[][b]")], "a[][b]"),
        ([field(b"a[b]c")], "a[b]c"),
        ([field(b"a[b][c][d][e]")], "a[b][c][d][e]"),
        ([field(b"a", b"\xff")], "a"),
        ([field(b"n" * 41)], "n" * 41),
        ([field(b"\xe4[")], "ä["),
        ([file(b"image", filename=b"f" * 31)], "image"),
        ([file(b"image")] * 3 + [file(b"mask")], "mask"),
        ([field(b"")], None),
        ([part(b"", b"v")], None),
        ([part(b'; name="a"', b"v", b'Content-Disposition: form-data; name="b"')], None),
        ([b'--B\r\nContent-Disposition: attachment; name="a"\r\n\r\nv\r\n'], None),
        ([b"--B\r\n\r\nv\r\n"], None),
        ([b"--B\r\nbroken\r\n\r\nv\r\n"], None),
        ([part(b'; name="a"', b"v", *[b"x-%d: y" % n for n in range(8)])], None),
        ([part(b'; name="a"', b"v", b"x: " + b"y" * 3000)], None),
    ],
)
async def test_what_is_wrong_is_refused_by_its_name(parts, param):
    error = await refusal(*parts)
    assert isinstance(error, InvalidRequest)
    assert error.param == param


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([field(b"a", b"x" * 101)], "a"),
        ([file(b"image", b"x" * 4001)], "image"),
        ([file(b"image", b"x" * 4000)] * 5, "image"),
        ([b"preamble" * 3000], None),
    ],
)
async def test_what_is_too_large_is_refused(parts, param):
    limits = FormLimits(20_000, 4000, max_files=10, max_field_bytes=100)
    error = await refusal(*parts, limits=limits)
    assert isinstance(error, PayloadTooLarge | InvalidRequest)
    if param is not None:
        assert isinstance(error, PayloadTooLarge)
        assert error.param in {param, None}


async def test_the_fields_are_counted_before_they_are_read():
    error = await refusal(*[field(b"f%d" % n) for n in range(5)])
    assert "more than 4 fields" in error.message


@pytest.mark.parametrize("body", [b"", b"--B", file(b"image")[:-10], field(b"a") + b"--B"])
async def test_a_form_that_ends_early_is_refused(body):
    with pytest.raises(InvalidRequest) as refused:
        async with open_form(request(body), LIMITS, "image"):
            pass
    assert "cut off" in refused.value.message


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=", KIND[:-1] + "x" * 5000]
)
async def test_a_form_without_a_usable_boundary_is_refused(kind):
    with pytest.raises(InvalidRequest):
        async with open_form(request(b"--B--\r\n", kind), LIMITS):
            pass


async def test_another_media_type_is_refused():
    with pytest.raises(UnsupportedMediaType):
        async with open_form(request(b"{}", "application/json"), LIMITS):
            pass


async def test_what_follows_the_last_boundary_is_ignored_quietly(caplog):
    fields, _ = await read(field(b"a"), b"--B--\r\n", b"junk" * 1000)
    assert fields == {"a": "v"}
    assert len(caplog.records) <= 1


async def test_an_empty_file_is_a_file():
    _, files = await read(file(b"image", b"", b""))
    assert files == {"image": [b""]}


@pytest.mark.parametrize("size_bytes", [10, 3000])
async def test_every_file_is_closed_when_the_block_ends(size_bytes):
    forms: list[Form] = []
    body = file(b"image", b"x" * size_bytes) + b"--B--\r\n"

    async def fail():
        async with open_form(request(body), LIMITS) as form:
            forms.append(form)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert forms[0].files["image"][0].spool.closed


async def test_no_file_stays_open_when_a_later_part_is_refused(tmp_path, monkeypatch):
    import tempfile
    from pathlib import Path

    def open_files():
        return len(list(Path("/proc/self/fd").iterdir()))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = open_files()
    for _ in range(5):
        await refusal(file(b"image", b"x" * 3000), field(b"a"), field(b"a"))
    assert open_files() == before
    assert list(tmp_path.iterdir()) == []


async def test_a_file_name_is_kept_as_it_came_and_never_used():
    name = b"../../etc/passwd"
    body = file(b"image", filename=name) + b"--B--\r\n"
    async with open_form(request(body), LIMITS) as form:
        (uploaded,) = form.files["image"]
        assert uploaded.filename == "../../etc/passwd"
        assert uploaded.content_type == "image/png"
        assert uploaded.size_bytes == 3
