"""No body, however hostile, makes the server fail, and none is read past its limit."""

from __future__ import annotations

import asyncio
import json

import pytest

from service.intake import LimitsOptions
from tests.rest_kit import IMAGES

JSON = {"content-type": "application/json"}

HOSTILE = {
    "empty": b"",
    "not json": b"prompt=x",
    "cut off": b'{"prompt": "x"',
    "trailing": b'{"prompt": "x"} {}',
    "not an object": b'["prompt"]',
    "a string": b'"prompt"',
    "null": b"null",
    "nan": b'{"prompt": "x", "guidance_scale": NaN}',
    "infinity": b'{"prompt": "x", "guidance_scale": -Infinity}',
    "infinite by exponent": b'{"prompt": "x", "guidance_scale": 1e999}',
    "huge integer": b'{"prompt": "x", "seed": ' + b"9" * 5000 + b"}",
    "huge negative integer": b'{"prompt": "x", "seed": -' + b"9" * 21 + b"}",
    "duplicate key": b'{"prompt": "x", "prompt": "y"}',
    "duplicate key, nested": b'{"prompt": "x", "svg": {"a": 1, "a": 2}}',
    "latin-1": '{"prompt": "é"}'.encode("latin-1"),
    "utf-16": '{"prompt": "x"}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + b'{"prompt": "x"}',
    "zero byte": b'{"prompt": "x\x00"}',
    "encoded surrogate": b'{"prompt": "\xed\xa0\x80"}',
    "escaped surrogate": rb'{"prompt": "\ud800"}',
    "surrogate in a model name": rb'{"prompt": "x", "size": "\ud800"}',
    "surrogate in a field name": rb'{"prompt": "x", "\udfff": 1}',
    "deep array": b"[" * 200_000,
    "deep and closed": b'{"svg":' * 50_000 + b"1" + b"}" * 50_000,
    "many unknown fields": json.dumps({f"field{i}": i for i in range(20_000)}).encode(),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_body_is_a_bad_request(bench, body):
    async with bench.client() as client:
        response = await client.post(IMAGES, content=body, headers=JSON)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["code"] == "invalid_request"
    assert len(error["message"]) < 300
    assert bench.generate.requests == []


async def test_an_unknown_model_name_with_a_surrogate_is_answered(bench):
    body = rb'{"prompt": "x", "model": "\ud800"}'
    async with bench.client() as client:
        response = await client.post(IMAGES, content=body, headers=JSON)
    assert response.status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
async def test_a_body_of_another_kind_is_refused(bench, headers):
    async with bench.client() as client:
        response = await client.post(IMAGES, content=b'{"prompt": "x"}', headers=headers)
    assert response.status_code == 415
    assert response.json()["error"]["code"] == "unsupported_media_type"


async def test_a_charset_and_capitals_do_not_matter(bench):
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    async with bench.client() as client:
        response = await client.post(IMAGES, content=b'{"prompt": "x"}', headers=headers)
    assert response.status_code == 200


async def _in_pieces(total: int):
    for _ in range(total // 256):
        yield b" " * 256


async def test_a_body_is_limited_with_and_without_a_declared_length(bench):
    bench.limits = LimitsOptions(max_body_bytes=1024)
    async with bench.client() as client:
        declared = await client.post(IMAGES, content=b" " * 1025, headers=JSON)
        streamed = await client.post(IMAGES, content=_in_pieces(4096), headers=JSON)
        fits = await client.post(IMAGES, content=b'{"prompt": "x"}'.ljust(1024), headers=JSON)
    assert declared.status_code == streamed.status_code == 413
    assert declared.json()["error"]["code"] == "payload_too_large"
    assert declared.headers["connection"] == "close"
    assert fits.status_code == 200


async def test_an_oversized_body_is_not_read_to_its_end(bench):
    bench.limits = LimitsOptions(max_body_bytes=1024)
    reads = 0

    async def receive():
        nonlocal reads
        reads += 1
        return {"type": "http.request", "body": b" " * 512, "more_body": True}

    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": IMAGES, "query_string": b""}
    await bench.app()({**scope, "headers": [(b"content-type", b"application/json")]}, receive, send)
    assert sent[0]["status"] == 413
    assert reads == 3
    reads = 0
    declared = [(b"content-type", b"application/json"), (b"content-length", b"99999999999")]
    await bench.app()({**scope, "headers": declared}, receive, send)
    assert sent[2]["status"] == 413
    assert reads == 0


async def test_a_body_that_never_ends_runs_into_the_deadline(bench):
    bench.request_timeout_s = 0.05
    sent = []

    async def receive():
        await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": IMAGES,
        "headers": [(b"content-type", b"application/json")],
        "query_string": b"",
    }
    await asyncio.wait_for(bench.app()(scope, receive, send), 5)
    assert sent[0]["status"] == 504


async def test_a_client_that_leaves_while_it_sends_is_no_defect(bench, caplog):
    async def receive():
        return {"type": "http.disconnect"}

    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": IMAGES,
        "headers": [(b"content-type", b"application/json")],
        "query_string": b"",
    }
    await bench.app()(scope, receive, send)
    assert sent[0]["status"] == 499
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
