"""Clients that lie, stall, shout and leave: nothing of them stays, and nobody else notices.

`HOSTILE_DISCONNECTS` is how many clients leave at a random moment: 200, or 1,000 with `make storm`.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import httpx
import pytest

from tests.e2e.doors import IMAGES, Doors, Wanted
from tests.e2e.footprint import metrics, nothing_is_left, total
from tests.e2e.raw_http import connected, post
from tests.e2e.server import Server, run_server
from tests.e2e.storm import Storm
from tests.pictures import png

DISCONNECTS = int(os.environ.get("HOSTILE_DISCONNECTS", "200"))
NORMAL = Wanted()
REFUSED_S = 15.0
EDITS = "/v1/images/edits"
VERIFY = "/v1/images/verify"
BODY = NORMAL.openai_body()


@contextmanager
def hostile_server(folder: Path, **settings: str) -> Iterator[Server]:
    """Yield a server whose temporary files can be seen."""
    (folder / "tmp").mkdir()
    with run_server(folder, {"TMPDIR": str(folder / "tmp"), **settings}) as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with hostile_server(tmp_path_factory.mktemp("hostile")) as running:
        yield running


@pytest.fixture(scope="module")
def digest(server):
    """The digest of the normal picture, before anything happened."""
    answer = httpx.post(f"{server.url}{IMAGES}", json=BODY, timeout=60)
    return answer.json()["data"][0]["pixels_sha256"]


@pytest.fixture(autouse=True)
def _unharmed(server, digest):
    """Whatever a test does: nothing stays, no defect is logged, and pictures are as before."""
    logged_before = len(server.log())
    with nothing_is_left(server):
        yield
    assert draw(server) == digest
    logged = server.log()[logged_before:]
    assert "Traceback" not in logged
    assert '"level": "error"' not in logged


def draw(server: Server) -> str:
    answer = httpx.post(f"{server.url}{IMAGES}", json=BODY, timeout=60)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["data"][0]["pixels_sha256"])


def multipart(content: bytes) -> tuple[bytes, dict[str, str | None]]:
    """Return a form that holds a prompt and a picture, and its headers."""
    head = (
        b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nx\r\n'
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n'
        b"Content-Type: image/png\r\n\r\n"
    )
    return head + content + b"\r\n--b--\r\n", {"Content-Type": "multipart/form-data; boundary=b"}


LYING_HEADERS: dict[str, dict[str, str | None]] = {
    "a negative length": {"Content-Length": "-5"},
    "a length in words": {"Content-Length": "many"},
    "two lengths": {"Content-Length": "5\r\nContent-Length: 60"},
    "a length and chunks": {"Transfer-Encoding": "chunked"},
    "too small a length": {"Content-Length": "10"},
    "no chunks where chunks were promised": {
        "Content-Length": None,
        "Transfer-Encoding": "chunked",
    },
}


@pytest.mark.parametrize("lie", LYING_HEADERS)
async def test_a_body_that_is_not_what_its_headers_say_is_refused(server, lie):
    async with connected(server) as client:
        await client.send(post(IMAGES, BODY, LYING_HEADERS[lie]))
        assert await client.statuses(REFUSED_S) == [400]


@pytest.mark.parametrize(
    "garbage",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20, b"\x00" * 4096, b"GET\r\n\r\n"],
)
async def test_what_is_no_http_is_refused_on_both_ports(server, garbage):
    async with connected(server) as client:
        await client.send(garbage)
        assert await client.statuses(REFUSED_S) == [400]
        async with connected(server) as second:
            await second.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" + garbage)
            assert (await second.statuses(REFUSED_S))[-1] == 400
    async with connected(server, server.grpc_port) as client:
        await client.send(garbage)
        await asyncio.wait_for(client.reader.read(), REFUSED_S)  # until the server closes


async def test_pipelined_requests_end_with_their_connection(server):
    done = 'mintmark_engine_requests_total{outcome="done"}'
    before = metrics(server)[done]
    async with connected(server) as client:
        await client.send(post(IMAGES, {**BODY, "num_inference_steps": 100}) * 5)
        await asyncio.sleep(0.3)
    await asyncio.sleep(0.5)
    after = metrics(server)
    assert after["mintmark_http_requests_in_flight"] == 0
    assert after[done] == before


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n", 431),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 5000 + b"\r\n", 431),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
    ],
    ids=["a giant header", "too many headers", "a long path"],
)
async def test_giant_heads_are_refused(server, head, status):
    async with connected(server) as client:
        await client.send(head)
        assert await client.status() == status


async def test_a_header_without_end_is_cut_off(server):
    """What has been received of it must be bounded while it comes, not when it is complete."""
    async with connected(server) as client:
        await client.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nX: ")
        for _ in range(64):
            await client.send(b"a" * 65536)
        assert await client.statuses(REFUSED_S) == [431]


async def test_a_body_that_comes_byte_by_byte_is_read(server, digest):
    async with connected(server) as client:
        for byte in post(IMAGES, BODY):
            await client.send(bytes([byte]))
            await asyncio.sleep(0.001)
        (image,) = json.loads(await client.answer())["data"]
    assert image["pixels_sha256"] == digest


async def test_a_body_that_stalls_is_answered_in_time(tmp_path):
    form, form_headers = multipart(png())
    stalling = [
        post(IMAGES, BODY)[:-5],
        post(EDITS, form, form_headers)[:-50],
        post(VERIFY, form, form_headers)[:-50],
        post("/v2/models/mintmark-emoji-64/infer", NORMAL.oip_body())[:-5],
        post(IMAGES, BODY, {"Idempotency-Key": "stalled"})[:-5],
    ]

    async def stall(hurried: Server, request: bytes) -> int:
        async with connected(hurried) as client:
            await client.send(request)
            return await asyncio.wait_for(client.status(), REFUSED_S)

    with hostile_server(tmp_path, MINTMARK_ENGINE__REQUEST_TIMEOUT_S="2") as hurried:
        with nothing_is_left(hurried):
            answers = await asyncio.gather(*(stall(hurried, request) for request in stalling))
        assert answers == [504] * len(stalling)
        assert "Traceback" not in hurried.log()


@pytest.mark.parametrize("path", [EDITS, VERIFY])
@pytest.mark.parametrize("size_bytes", [2_000, 3_000_000], ids=["in memory", "in a file"])
async def test_a_cut_off_form_is_refused_and_its_files_are_gone(server, path, size_bytes):
    form, headers = multipart(png() + b"\x00" * size_bytes)
    async with connected(server) as client:  # its end is missing
        await client.send(post(path, form[:-20], headers))
        assert b"cut off" in await client.answer()
    whole = post(path, form, headers)
    async with connected(server) as client:  # its sender leaves in the middle
        await client.send(whole[: len(whole) * 2 // 3])
        await asyncio.sleep(0.2)


async def test_half_open_and_dropped_connections_are_let_go(server):
    beginnings = [b"", b"PO", b"POST /v1/images/gener", post(IMAGES, BODY)[:60]]

    async def come_and_go(number: int) -> None:
        port = server.grpc_port if number % 5 == 0 else server.http_port
        async with connected(server, port) as client:
            await client.send(beginnings[number % len(beginnings)])
            if number % 3 == 0:
                client.half_close()
            await asyncio.sleep(0.3 if number % 2 else 0.0)
            client.drop(is_reset=number % 4 == 1)

    for first in range(0, 300, 50):
        await asyncio.gather(*(come_and_go(number) for number in range(first, first + 50)))
        assert server.probe("/livez") == 200


@pytest.mark.parametrize(
    "method", ["mintmark.v1.ImageGeneration/Generate", "inference.GRPCInferenceService/ModelInfer"]
)
async def test_what_is_no_message_is_refused_over_grpc(server, method):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call = channel.unary_stream(f"/{method}", None, None)(b"\xff" * 40)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "Unexpected" not in (refused.value.details() or "")


async def test_clients_that_leave_at_random_moments_disturb_nobody(server, digest):
    async with Doors(server) as doors:
        storm = Storm(doors, random.Random(20261124))
        drawn: list[str] = []
        is_over = asyncio.Event()

        async def neighbour(names: list[str]) -> None:
            while not is_over.is_set():
                drawn.extend([await doors.draw[name](NORMAL) for name in names])

        async with asyncio.TaskGroup() as neighbours:
            for names in (["openai", "grpc"], ["sse", "oip-http", "oip-grpc"]):
                neighbours.create_task(neighbour(names))
            await storm.rage(DISCONNECTS)
            is_over.set()
        assert set(drawn) == {digest}
        assert min(storm.left.values()) >= DISCONNECTS // 10
        assert storm.answered == 0  # every one of them left too early to be served
        assert {await draw_at(NORMAL) for draw_at in doors.draw.values()} == {digest}
        await check_every_slot_is_free(doors)


async def check_every_slot_is_free(doors: Doors) -> None:
    """Eight guided pictures fill all sixteen rows of a step, unless somebody still holds some."""
    before = full_steps(doors.server)
    answer = await doors.http.post(IMAGES, json={**BODY, "n": 8, "num_inference_steps": 4})
    assert answer.status_code == 200
    assert full_steps(doors.server) - before == 4


def full_steps(server: Server) -> float:
    buckets = metrics(server)
    up_to_16, up_to_12 = (
        total(buckets, f'mintmark_batch_rows_bucket{{le="{edge}"') for edge in (16.0, 12.0)
    )
    return up_to_16 - up_to_12
