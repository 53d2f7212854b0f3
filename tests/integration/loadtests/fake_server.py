"""An HTTP server on loopback that answers as a test wants, in a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import BodyPartReader, web

SIGNED = b"\x89PNG ....jumb....c2pa\x00...."
Answer = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


class FakeServer:
    """`answer` may be replaced at any time; `bodies` has what was asked, `left` who gave up."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.left = 0
        self.verdict = ("ai_generated_by_us", "proof")
        self.url = ""

    async def generate(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        try:
            return await self.answer(request, body)
        except asyncio.CancelledError:
            self.left += 1
            raise

    async def verify(self, request: web.Request) -> web.Response:
        async for part in await request.multipart():
            assert isinstance(part, BodyPartReader)
            assert part.name == "image"
        verdict, confidence = self.verdict
        return web.json_response({"verdict": verdict, "confidence": confidence})

    async def ready(self, request: web.Request) -> web.Response:
        return web.Response()

    async def metrics(self, request: web.Request) -> web.Response:
        return web.Response(text=f"process_cpu_seconds_total {len(self.bodies)}\n")

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/images/generations", self.generate),
            web.post("/v1/images/verify", self.verify),
            web.get("/readyz", self.ready),
            web.get("/metrics", self.metrics),
        ]


@contextmanager
def fake_server(answer: Answer) -> Iterator[FakeServer]:
    server = FakeServer(answer)
    loop = asyncio.new_event_loop()
    started = threading.Event()

    async def serve() -> web.AppRunner:
        app = web.Application()
        app.add_routes(server.routes())
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port, *_ = runner.addresses[0]
        server.url = f"http://{host}:{port}"
        return runner

    def run() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(serve())
        started.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert started.wait(30)
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)


def item() -> dict[str, str]:
    return {"b64_json": base64.b64encode(SIGNED).decode()}


async def draw(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Answer as the service does, at once."""
    if body.get("stream"):
        previews = body["partial_images"]
        return await stream(request, [event("partial_image")] * previews + [event("completed")])
    return web.json_response({"data": [item()] * body.get("n", 1)})


def event(kind: str) -> str:
    data = {"type": f"image_generation.{kind}", **item()}
    return f"event: image_generation.{kind}\ndata: {json.dumps(data)}\n\n"


async def stream(request: web.Request, blocks: list[str]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for block in blocks:
        await response.write(block.encode())
    await response.write_eof()
    return response


def refuse(status: int, code: str) -> Answer:
    async def answer(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return web.json_response({"error": {"code": code}}, status=status)

    return answer
