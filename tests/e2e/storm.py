"""Many clients that ask for long work and leave at a random moment, through every door."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import grpc

from service.rpc.generated.mintmark.v1 import image_generation_pb2_grpc as pb_grpc
from tests.e2e.doors import IMAGES, Doors, Wanted
from tests.e2e.raw_http import connected, post

AT_ONCE = 16
LONGEST_STAY_S = 0.4
LONG = Wanted("a rocket, soft style", seed=99, steps=150)  # nobody stays until it is drawn


class Storm:
    """`left`: clients that left, by door. `answered`: those that were served before they could."""

    def __init__(self, doors: Doors, chance: random.Random) -> None:
        self._doors = doors
        self._chance = chance
        self._places = asyncio.Semaphore(AT_ONCE)
        self.left: Counter[str] = Counter()
        self.answered = 0

    async def rage(self, count: int) -> None:
        """Let `count` clients come and leave, the same for the same chance."""
        kinds = (self._unary, self._sse, self._oip_http, self._grpc, self._oip_grpc)
        await asyncio.gather(*(self._visit(kinds[i % len(kinds)], i) for i in range(count)))

    async def _visit(self, kind: Any, number: int) -> None:
        async with self._places:
            await kind(self._chance.uniform(0.0, LONGEST_STAY_S), number)
            self.left[kind.__name__] += 1

    async def _unary(self, stay_s: float, number: int) -> None:
        key = {"Idempotency-Key": f"storm-{number}"} if number % 2 else {}
        await self._over_http(post(IMAGES, {**LONG.openai_body(), "n": 2}, key), stay_s)

    async def _sse(self, stay_s: float, number: int) -> None:
        body = {**LONG.openai_body(), "stream": True, "partial_images": number % 4}
        await self._over_http(post(IMAGES, body), stay_s)

    async def _oip_http(self, stay_s: float, number: int) -> None:
        body = replace(LONG, seed=number).oip_body()
        await self._over_http(post(self._doors.infer_path, body), stay_s)

    async def _over_http(self, request: bytes, stay_s: float) -> None:
        """Leave while waiting, or before the request is complete."""
        is_complete = self._chance.random() < 0.75
        length = len(request) if is_complete else self._chance.randrange(len(request))
        is_reset = self._chance.random() < 0.5
        async with connected(self._doors.server) as client:
            await client.send(request[:length])
            await asyncio.sleep(stay_s)
            client.drop(is_reset=is_reset)

    async def _grpc(self, stay_s: float, number: int) -> None:
        await self._over_grpc(number, stay_s, "Generate")

    async def _oip_grpc(self, stay_s: float, number: int) -> None:
        await self._over_grpc(number, stay_s, "ModelInfer")

    async def _over_grpc(self, number: int, stay_s: float, method: str) -> None:
        """Cancel the call, let its deadline pass, or close the connection below it."""
        way = self._chance.choice(["cancel", "deadline", "close"])
        channel = self._doors.channel
        if way == "close":
            channel = grpc.aio.insecure_channel(
                f"127.0.0.1:{self._doors.server.grpc_port}",
                [("grpc.use_local_subchannel_pool", 1)],
            )
        timeout_s = max(0.001, stay_s) if way == "deadline" else None
        call = self._begin(channel, method, replace(LONG, seed=number), timeout_s)
        reading = asyncio.ensure_future(_read(call))
        await asyncio.wait({reading}, timeout=stay_s + (5.0 if way == "deadline" else 0.0))
        if way == "cancel":
            call.cancel()
        elif way == "close":
            await channel.close(None)
        self.answered += await reading

    def _begin(
        self, channel: grpc.aio.Channel, method: str, wanted: Wanted, timeout_s: float | None
    ) -> Any:
        if method == "Generate":
            stub: Any = pb_grpc.ImageGenerationStub(channel)
            return stub.Generate(wanted.rpc_message(), timeout=timeout_s)
        infer: Any = channel.unary_stream("/inference.GRPCInferenceService/ModelInfer", None, None)
        message = wanted.oip_message(self._doors.model)
        return infer(message.SerializeToString(), timeout=timeout_s)


async def _read(call: Any) -> bool:
    """Return whether the call came to its end."""
    try:
        async for _ in call:
            pass
    except (grpc.aio.AioRpcError, asyncio.CancelledError):
        return False
    return True
