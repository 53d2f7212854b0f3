"""Clients of every kind that ask one server at once, and what is made of their pictures."""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import httpx
from grpc_health.v1 import health_pb2_grpc

from service.client import AsyncMintmarkClient, FinishedImage, GenerateOptions
from service.database.options import LedgerOptions
from service.provenance.decode import DecodeLimits
from service.provenance.keys import load_signing_material
from service.provenance.ledger import Ledger
from service.provenance.options import ProvenanceOptions
from service.provenance.verify import VerificationTrust, Verifier
from service.provenance.watermark import SpreadSpectrumWatermarker
from tests.e2e.raw_http import connected, post
from tests.e2e.server import Server

IMAGES = "/v1/images/generations"
VERIFY = "/v1/images/verify"
PROMPT = "a red apple"
LONG_STEPS = 100
LEFT_S = 1.0
# Beside the processes' own way out; the machines that run this may be busy.
SLACK_S = 4.0
ANSWER_S = 100.0


def body(seed: int, steps: int = LONG_STEPS, **more: Any) -> dict[str, Any]:
    wanted = {"prompt": PROMPT, "seed": seed, "num_inference_steps": steps, "guidance_scale": 1}
    return {**wanted, **more}


def form(content: bytes) -> tuple[bytes, dict[str, str | None]]:
    """Return a form with one picture, and its headers."""
    head = (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n'
        b"Content-Type: image/png\r\n\r\n"
    )
    return head + content + b"\r\n--b--\r\n", {"Content-Type": "multipart/form-data; boundary=b"}


def prove(state_dir: Path, pictures: list[bytes]) -> None:
    """Fail unless every picture is signed, marked and in the ledger that was left behind."""
    material = load_signing_material(ProvenanceOptions(), state_dir)
    ledger = Ledger.open(LedgerOptions(), state_dir)
    limits = DecodeLimits(max_bytes=2**25, max_pixels=2**22)
    trust = VerificationTrust.of(material)
    verifier = Verifier(trust, SpreadSpectrumWatermarker(), ledger, limits)
    with closing(ledger), closing(verifier):
        for picture in pictures:
            report = verifier.verify(picture)
            assert (report.verdict, report.confidence) == ("ai_generated_by_us", "proof")
            assert report.watermark.registered
            assert report.c2pa.manifest_id is not None
            assert ledger.find_by_manifest(report.c2pa.manifest_id) is not None


def ledger_is_whole(state_dir: Path) -> bool:
    with closing(sqlite3.connect(state_dir / "ledger.sqlite3")) as ledger:
        (verdict,) = ledger.execute("PRAGMA integrity_check").fetchone()
        return bool(verdict == "ok")


async def eventually(condition: Callable[[], Awaitable[bool]], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not await condition():
            await asyncio.sleep(0.02)


class Crowd:
    """Clients of every kind at once; `pictures` are all that they got."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.pictures: list[bytes] = []

    async def __aenter__(self) -> Crowd:
        target = f"127.0.0.1:{self._server.grpc_port}"
        self.http = httpx.AsyncClient(base_url=self._server.url, timeout=ANSWER_S)
        self.rpc = AsyncMintmarkClient(target)
        self.channel = grpc.aio.insecure_channel(
            target,
            [("grpc.use_local_subchannel_pool", 1)],
        )
        self.health = health_pb2_grpc.HealthStub(self.channel)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.http.aclose()
        await self.rpc.close()
        await self.channel.close(None)

    async def unary(self, seed: int = 1, steps: int = LONG_STEPS) -> None:
        answer = await self.http.post(IMAGES, json=body(seed, steps))
        assert answer.status_code == 200, answer.text
        (image,) = answer.json()["data"]
        self.pictures.append(base64.b64decode(image["b64_json"]))

    async def stream(self) -> None:
        wanted = body(2, stream=True, partial_images=2)
        async with self.http.stream("POST", IMAGES, json=wanted) as answer:
            lines = [line async for line in answer.aiter_lines() if line.startswith("data: ")]
        events = [json.loads(line.removeprefix("data: ")) for line in lines]
        assert events[-1]["type"] == "image_generation.completed", events[-1]
        self.pictures += [base64.b64decode(event["b64_json"]) for event in events]

    async def rpc_unary(self) -> None:
        options = GenerateOptions(num_inference_steps=LONG_STEPS, guidance_scale=1, seed=3)
        generated = await self.rpc.generate(PROMPT, options, deadline_s=ANSWER_S)
        self.pictures += [picture.content for picture in generated.pictures]

    async def rpc_stream(self) -> None:
        options = GenerateOptions(num_inference_steps=LONG_STEPS, guidance_scale=1, seed=4)
        async for event in self.rpc.stream(PROMPT, options, deadline_s=ANSWER_S):
            if isinstance(event, FinishedImage):
                self.pictures.append(event.picture.content)

    async def upload(self, picture: bytes, go_on: asyncio.Event) -> None:
        """Send the second half of a picture only when told to; it is verified all the same."""
        content, headers = form(picture)
        request = post(VERIFY, content, headers)
        async with connected(self._server) as client:
            await client.send(request[: len(request) // 2])
            await go_on.wait()
            await client.send(request[len(request) // 2 :])
            report = json.loads(await client.answer())
        assert (report["verdict"], report["confidence"]) == ("ai_generated_by_us", "proof")

    async def is_busy_with(self, http: int, rpc: int) -> bool:
        text = (await self.http.get("/metrics")).text
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[:1] != "#")
        names = ("mintmark_http_requests_in_flight", "mintmark_rpc_calls_in_flight")
        return [float(lines[name]) for name in names] == [http, rpc]
