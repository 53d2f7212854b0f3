"""Requests of every kind that a service can answer, refuse, or have taken away from it."""

from __future__ import annotations

import asyncio
import base64
import time
from contextlib import suppress
from typing import Any

import grpc
import httpx

from service.rpc.generated.mintmark.v1 import image_generation_pb2 as pb
from tests.e2e.doors import IMAGES, Doors, Wanted
from tests.e2e.server import Server

# A queue so short that a burst overflows it.
SETTINGS = {
    "MINTMARK_ENGINE__MAX_QUEUED_IMAGES": "2",
    "MINTMARK_ENGINE__MAX_BATCH_ROWS": "2",
    "MINTMARK_STORAGE__KIND": "folder",
}
_BURST = 8
_MANY_STEPS = 150
_LEFT_AFTER_S = 0.6
_EDITED = {"prompt": "a green apple", "num_inference_steps": "2"}


async def drive(server: Server, duration_s: float) -> None:
    """Send rounds of every kind of request for `duration_s`, two rounds at least."""
    ends_at_s, rounds = time.monotonic() + duration_s, 0
    async with Doors(server) as doors:
        while rounds < 2 or time.monotonic() < ends_at_s:
            await _pictures(doors)
            await _errors(doors)
            await _refusals(doors)
            await _departures(doors)
            rounds += 1


async def _pictures(doors: Doors) -> None:
    for draw in doors.draw.values():
        await draw(Wanted(steps=2))
    inline = await _post(doors, {"output_format": "webp"})
    assert inline.status_code == 200, inline.text
    picture = base64.b64decode(inline.json()["data"][0]["b64_json"])
    linked = await _post(doors, {"response_format": "url"})
    assert linked.status_code == 200, linked.text
    await doors.http.get(linked.json()["data"][0]["url"])
    upload = {"image": ("picture.webp", picture, "image/webp")}
    edited = await doors.http.post("/v1/images/edits", data=_EDITED, files=upload)
    assert edited.status_code == 200, edited.text
    verified = await doors.http.post("/v1/images/verify", files=upload)
    assert verified.status_code == 200, verified.text


async def _errors(doors: Doors) -> None:
    for path in ("/livez", "/healthz", "/readyz", "/metrics", "/nowhere"):
        await doors.http.get(path)
    assert (await _post(doors, {"size": "7x7"})).status_code == 400
    with suppress(grpc.aio.AioRpcError):
        async for _ in doors.rpc.Generate(pb.GenerateRequest(prompt="")):
            pass


async def _refusals(doors: Doors) -> None:
    answers = await asyncio.gather(
        *(_post(doors, {"num_inference_steps": 10}) for _ in range(_BURST))
    )
    assert {answer.status_code for answer in answers} == {200, 503}


async def _departures(doors: Doors) -> None:
    """Leave while a picture is drawn: by closing the connection, and by a deadline."""
    slow = Wanted(steps=_MANY_STEPS)
    with suppress(httpx.ReadTimeout):
        await doors.http.post(IMAGES, json=slow.openai_body(), timeout=_LEFT_AFTER_S)
    with suppress(grpc.aio.AioRpcError):
        async for _ in doors.rpc.Generate(slow.rpc_message(), timeout=_LEFT_AFTER_S):
            pass


async def _post(doors: Doors, more: dict[str, Any]) -> httpx.Response:
    return await doors.http.post(IMAGES, json={**Wanted(steps=2).openai_body(), **more})
