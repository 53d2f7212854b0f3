"""One HTTP connection, on a real socket: what is bounded while a request arrives."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest

from service.rest import wire
from tests.rest_kit import served


class App:
    """Answers after `wait_s`, and counts the callers who left meanwhile."""

    def __init__(self, wait_s: float = 0.0) -> None:
        self.left = 0
        self.started = 0
        self._wait_s = wait_s

    async def __call__(self, scope, receive, send):
        self.started += 1
        while (await receive()).get("more_body"):
            pass
        if self._wait_s:
            gone = asyncio.ensure_future(receive())
            done, _ = await asyncio.wait([gone], timeout=self._wait_s)
            gone.cancel()
            if done:
                self.left += 1
                return
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
        )
        await send({"type": "http.response.body", "body": b"ok"})


async def connect(url):
    parts = urlsplit(url)
    return await asyncio.open_connection(parts.hostname, parts.port)


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(wire, "HEAD_TIMEOUT_S", 0.2)


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX: "], ids=["nothing", "half"]
)
@pytest.mark.usefixtures("hurried")
async def test_a_head_that_does_not_come_ends_the_connection(sent):
    async with served(App()) as url:
        reader, writer = await connect(url)
        writer.write(sent)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


@pytest.mark.usefixtures("hurried")
async def test_a_slow_answer_is_not_a_slow_head():
    async with served(App(wait_s=0.5)) as url:
        reader, writer = await connect(url)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 200")
        writer.close()


@pytest.mark.usefixtures("hurried")
async def test_the_second_head_of_a_connection_has_its_own_time():
    async with served(App()) as url:
        reader, writer = await connect(url)
        for _ in range(3):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.wait_for(reader.readuntil(b"ok"), 5)
            await asyncio.sleep(0.15)
        writer.write(b"GET / HT")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_a_head_that_is_too_long_is_refused_in_our_shape():
    async with served(App()) as url:
        reader, writer = await connect(url)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
        for _ in range(3):
            writer.write(b"a" * wire.MAX_HEAD_BYTES)
            await writer.drain()
            await asyncio.sleep(0.01)
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert b'"code":"headers_too_large"' in answer
        writer.close()


async def test_bodies_are_not_counted_as_heads():
    body = b"a" * (2 * wire.MAX_HEAD_BYTES)
    async with served(App()) as url:
        reader, writer = await connect(url)
        for _ in range(2):
            writer.write(
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
            await asyncio.wait_for(reader.readuntil(b"ok"), 5)
        writer.close()


async def test_all_requests_of_a_connection_end_with_it():
    app = App(wait_s=5)
    async with served(app) as url:
        _, writer = await connect(url)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        await asyncio.sleep(0.2)
        writer.close()
        await asyncio.sleep(0.2)
        assert (app.started, app.left) == (1, 1)
