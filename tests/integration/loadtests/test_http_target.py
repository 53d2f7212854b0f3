"""What the HTTP target makes of answers, good and bad."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
from aiohttp import web

from loadtests.harness.request import ImageRequest, Kind
from loadtests.targets.http import HttpTarget
from tests.integration.loadtests.fake_server import (
    SIGNED,
    draw,
    event,
    fake_server,
    refuse,
    stream,
)


@pytest.fixture(scope="module")
def server():
    with fake_server(draw) as running:
        yield running


@pytest.fixture(autouse=True)
def _as_new(server):
    server.answer = draw
    server.bodies.clear()
    server.left = 0


def make_request(**overrides) -> ImageRequest:
    return replace(ImageRequest(profile="p", prompt="a red apple", seed=7), **overrides)


async def send(server, **overrides):
    async with HttpTarget(server.url, api_key="secret") as target:
        return await target.send(make_request(**overrides))


async def test_an_answer_gives_its_pictures_and_only_what_was_said_is_sent(server):
    outcome = await send(server, n=2, size_px=(96, 64), num_inference_steps=4)
    assert (outcome.kind, outcome.pictures) == (Kind.DONE, (SIGNED, SIGNED))
    assert outcome.first_event_s is None
    assert server.bodies == [
        {
            "prompt": "a red apple",
            "seed": 7,
            "n": 2,
            "size": "96x64",
            "num_inference_steps": 4,
            "response_format": "b64_json",
        }
    ]
    assert server.headers[-1]["Authorization"] == "Bearer secret"


async def test_a_stream_gives_its_picture_and_when_its_first_event_came(server):
    async def late(request, body):
        await asyncio.sleep(0.1)
        return await stream(
            request, [": keepalive\n\n", event("partial_image"), event("completed")]
        )

    server.answer = late
    outcome = await send(server, is_streamed=True, partial_images=1)
    assert (outcome.kind, outcome.pictures) == (Kind.DONE, (SIGNED,))
    assert outcome.first_event_s >= 0.1
    assert server.bodies[0]["stream"] is True
    assert server.bodies[0]["partial_images"] == 1


async def test_events_cut_anywhere_are_put_together(server):
    whole = event("completed")
    server.answer = lambda request, _: stream(request, [whole[:9], whole[9:40], whole[40:]])
    assert (await send(server, is_streamed=True)).kind is Kind.DONE


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (refuse(503, "queue_full"), Kind.REFUSED, "queue_full"),
        (refuse(429, "rate_limited"), Kind.REFUSED, "rate_limited"),
        (refuse(500, "signing_failed"), Kind.FAILED, "signing_failed"),
    ],
)
async def test_a_typed_error_keeps_its_code(server, answer, kind, code):
    server.answer = answer
    outcome = await send(server)
    assert (outcome.kind, outcome.code) == (kind, code)


async def _plain_502(request, body):
    return web.Response(status=502, text="<html>")


async def _no_json(request, body):
    return web.Response(text="<html>")


async def _no_picture(request, body):
    return web.json_response({"data": [{"url": "http://127.0.0.1/x.png"}]})


async def _one_too_few(request, body):
    return web.json_response({"data": []})


async def _cut_off(request, body):
    request.transport.close()
    return web.Response()


async def _error_event(request, body):
    return await stream(request, ['event: error\ndata: {"error": {"code": "device_lost"}}\n\n'])


async def _ends_early(request, body):
    return await stream(request, [event("partial_image")])


@pytest.mark.parametrize(
    ("answer", "code", "is_streamed"),
    [
        (_plain_502, "http_502", False),
        (_no_json, "bad_answer", False),
        (_no_picture, "bad_answer", False),
        (_one_too_few, "missing_pictures", False),
        (_cut_off, "connection_lost", False),
        (_error_event, "device_lost", True),
        (_ends_early, "missing_pictures", True),
    ],
)
async def test_whatever_is_no_picture_has_failed(server, answer, code, is_streamed):
    server.answer = answer
    outcome = await send(server, is_streamed=is_streamed)
    assert (outcome.kind, outcome.code) == (Kind.FAILED, code)


async def test_nobody_there_is_a_failure_of_its_own():
    async with HttpTarget("http://127.0.0.1:9") as target:
        outcome = await target.send(make_request())
    assert (outcome.kind, outcome.code) == (Kind.FAILED, "connection_failed")


async def test_a_client_that_leaves_is_gone_for_the_server_too(server):
    async def endless(request, body):
        await asyncio.sleep(60)
        return web.Response()

    server.answer = endless
    async with HttpTarget(server.url) as target:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await target.send(make_request())
        for _ in range(100):
            if server.left:
                break
            await asyncio.sleep(0.05)
    assert server.left == 1


async def test_a_slow_client_takes_its_time_and_makes_the_server_wait(server):
    # More than the kernel buffers for a sender by itself, which is 4 MB at most.
    size_bytes, rate = 8_000_000, 8_000_000
    written_s = []

    async def large(request, body):
        began_s = time.monotonic()
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(size_bytes // 100_000):
            await response.write(b" " * 100_000)
        await response.write(b'{"data": []}')
        written_s.append(time.monotonic() - began_s)
        return response

    server.answer = large
    began_s = time.monotonic()
    outcome = await send(server, read_bytes_per_s=rate)
    assert outcome.code == "missing_pictures"
    assert time.monotonic() - began_s >= 0.9 * size_bytes / rate
    assert written_s[0] > 0.2  # the server felt it


async def test_it_reads_metrics_and_verdicts(server):
    await send(server)
    async with HttpTarget(server.url) as target:
        assert await target.is_ready()
        assert await target.read() == {("process_cpu_seconds_total", frozenset()): 1.0}
        assert await target.verdict(SIGNED) == "ai_generated_by_us/proof"
