"""What a request may carry, and how long it may take to arrive."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from service.errors import DeadlineExceeded
from service.rest.admin import AdminListener
from service.rest.header_guard import MAX_HEADER_BYTES, MAX_HEADERS, MAX_TARGET_BYTES
from service.rest.request_body import BodyGuard
from tests.rest_kit import IMAGES


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/models", [(f"x-{n}", "v") for n in range(MAX_HEADERS + 1)]),
        ("/v1/models", [("x-long", "v" * MAX_HEADER_BYTES)]),
        ("/v1/models?" + "q" * MAX_TARGET_BYTES, []),
        ("/v1/models/" + "m" * MAX_TARGET_BYTES, []),
    ],
)
async def test_what_comes_before_the_body_is_bounded(bench, path, headers):
    async with bench.client() as client:
        response = await client.get(path, headers=headers)
    assert response.status_code == 431
    assert response.json()["error"]["code"] == "headers_too_large"


async def test_ordinary_headers_pass(bench):
    headers = [(f"x-{n}", "v" * 200) for n in range(80)]
    async with bench.client() as client:
        assert (await client.get("/v1/models", headers=headers)).status_code == 200


async def run_guard(pauses_s, *, timeout_s, idle_s):
    """Feed a body in pieces, each after a pause, to an app that reads it all."""

    async def app(scope, receive, send):
        while (await receive()).get("more_body"):
            pass

    pieces = iter(pauses_s)

    async def receive():
        pause_s = next(pieces, None)
        if pause_s is None:
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.sleep(pause_s)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message):
        raise AssertionError

    guard = BodyGuard(app, lambda _: 1000, timeout_s, idle_s)
    await guard({"type": "http", "path": IMAGES, "headers": []}, receive, send)


async def test_a_body_that_stalls_is_given_up_early():
    with pytest.raises(DeadlineExceeded):
        await run_guard([0, 5], timeout_s=60, idle_s=0.05)


async def test_a_body_that_trickles_is_given_up_in_the_end():
    with pytest.raises(DeadlineExceeded):
        await run_guard([0.02] * 100, timeout_s=0.1, idle_s=1)


async def test_a_slow_body_that_keeps_coming_is_read():
    await run_guard([0.02] * 5, timeout_s=5, idle_s=1)


async def hello(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def test_the_administrators_port_answers_until_it_is_stopped():
    import signal

    before = signal.getsignal(signal.SIGTERM)
    listener = AdminListener(hello, "127.0.0.1", 0)
    await listener.start()
    url = f"http://127.0.0.1:{listener.port}/"
    async with httpx.AsyncClient() as client:
        assert (await client.get(url)).status_code == 204
    assert signal.getsignal(signal.SIGTERM) is before
    await listener.stop()
    await listener.stop()
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


async def test_an_administrators_port_in_use_is_one_clear_sentence():
    import socket

    from service.errors import ConfigurationError

    with socket.create_server(("127.0.0.1", 0)) as taken:
        listener = AdminListener(hello, "127.0.0.1", taken.getsockname()[1])
        with pytest.raises(ConfigurationError, match="MINTMARK_SERVER__ADMIN_PORT"):
            await listener.start()
        await listener.stop()
