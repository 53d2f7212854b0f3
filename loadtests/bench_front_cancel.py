"""From a client's leaving to its freed slot, in steps of the engine, through every door.

One client at a time asks for long work and leaves at a random moment. The engine's own events say
which steps began after that moment, and that none followed the request's end.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import httpx

from loadtests.bench_front_load import HOST, percentile
from loadtests.bench_front_process import journal, running
from service.oip.generated import open_inference_grpc_pb2 as oip_pb
from service.rpc.generated.mintmark.v1 import image_generation_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from loadtests.bench_front_process import Cores, Running
    from loadtests.bench_front_server import Order

STEP_S = 0.005
_STEPS = 150
_LONGEST_STAY_STEPS = 12
# After leaving, longer than a step: whatever is still computed shows before the next one asks.
_REST_STEPS = 3
_MOST_S = 30.0
_ENDED = frozenset({"done", "failed", "cancelled", "expired"})
_PROMPT = "a red apple"
_INFER_PATH = "/v2/models/toy/infer"


@dataclass(frozen=True, slots=True)
class Leaver:
    """One client that left at `left_at_s` on the clock that all processes share."""

    door: str
    request_id: str
    left_at_s: float


class _Doors:
    """Asks through a door under an id, stays for some seconds, and leaves; returns when it did."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        self._http_port = ports["http"]
        self._channel = grpc.aio.insecure_channel(f"{HOST}:{ports['grpc']}")
        self.visit: Mapping[str, Callable[[str, float], Awaitable[float]]] = {
            "OpenAI, unary": self._unary,
            "OpenAI, SSE": self._sse,
            "gRPC": self._rpc,
            "OIP over HTTP": self._oip,
            "OIP over gRPC": self._oip_rpc,
        }

    async def close(self) -> None:
        await self._channel.close(None)

    async def _unary(self, request_id: str, stay_s: float) -> float:
        body = {"prompt": _PROMPT, "num_inference_steps": _STEPS}
        return await self._post("/v1/images/generations", body, request_id, stay_s)

    async def _sse(self, request_id: str, stay_s: float) -> float:
        body = {"prompt": _PROMPT, "num_inference_steps": _STEPS, "stream": True}
        return await self._post("/v1/images/generations", body, request_id, stay_s)

    async def _oip(self, request_id: str, stay_s: float) -> float:
        prompt = {"name": "PROMPT", "datatype": "BYTES", "shape": [1], "data": [_PROMPT]}
        steps = {"name": "STEPS", "datatype": "INT32", "shape": [1], "data": [_STEPS]}
        return await self._post(_INFER_PATH, {"inputs": [prompt, steps]}, request_id, stay_s)

    async def _post(self, path: str, body: Any, request_id: str, stay_s: float) -> float:
        content = json.dumps(body).encode()
        _, writer = await asyncio.open_connection(HOST, self._http_port)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
            f"X-Request-Id: {request_id}\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        writer.write(head.encode() + content)
        await asyncio.sleep(stay_s)
        left_at_s = time.monotonic()
        writer.transport.abort()
        return left_at_s

    async def _rpc(self, request_id: str, stay_s: float) -> float:
        message = pb.GenerateRequest(prompt=_PROMPT, num_inference_steps=_STEPS)
        method = "/mintmark.v1.ImageGeneration/Generate"
        return await self._call(method, message.SerializeToString(), request_id, stay_s)

    async def _oip_rpc(self, request_id: str, stay_s: float) -> float:
        tensor = oip_pb.ModelInferRequest.InferInputTensor
        contents = oip_pb.InferTensorContents
        prompt = contents(bytes_contents=[_PROMPT.encode()])
        steps = contents(int_contents=[_STEPS])
        message = oip_pb.ModelInferRequest(
            model_name="toy",
            inputs=[
                tensor(name="PROMPT", datatype="BYTES", shape=[1], contents=prompt),
                tensor(name="STEPS", datatype="INT32", shape=[1], contents=steps),
            ],
        )
        method = "/inference.GRPCInferenceService/ModelInfer"
        return await self._call(method, message.SerializeToString(), request_id, stay_s)

    async def _call(self, method: str, message: bytes, request_id: str, stay_s: float) -> float:
        # A unary call ends as a stream of one message does; one way of reading serves both.
        begin: Any = self._channel.unary_stream(method, None, None)
        call = begin(message, metadata=(("x-request-id", request_id),))
        await call.initial_metadata()  # the call has reached the server
        await asyncio.sleep(stay_s)
        left_at_s = time.monotonic()
        call.cancel()
        return left_at_s


def measure(order: Order, cores: Cores, count: int, seed: int) -> dict[str, Any]:
    """Let `count` clients leave, the doors in turn; return what the engine did after each."""
    with running(order, cores) as arm:
        leavers = asyncio.run(_leave(arm, count, random.Random(seed)))
    found = journal(order)
    return judge(leavers, found["events"], found["running_images"])


async def _leave(arm: Running, count: int, chance: random.Random) -> list[Leaver]:
    doors = _Doors(arm.ports)
    names = list(doors.visit)
    leavers = []
    async with httpx.AsyncClient(base_url=f"http://{HOST}:{arm.ports['http']}") as probe:
        for number in range(count):
            door, request_id = names[number % len(names)], f"leaver-{number}"
            stay_s = chance.uniform(0.0, _LONGEST_STAY_STEPS * STEP_S)
            left_at_s = await doors.visit[door](request_id, stay_s)
            leavers.append(Leaver(door, request_id, left_at_s))
            await asyncio.sleep(_REST_STEPS * STEP_S)
            await _until_over(probe, request_id)
    await doors.close()
    return leavers


async def _until_over(probe: httpx.AsyncClient, request_id: str) -> None:
    """Return when the request has ended, or is not known: the steps of two must not be mixed up."""
    async with asyncio.timeout(_MOST_S):
        while True:
            answer = await probe.get(f"/v1/requests/{request_id}")
            if answer.status_code == httpx.codes.NOT_FOUND:
                return
            if answer.json()["phase"] in _ENDED:
                return
            await asyncio.sleep(STEP_S)


def judge(
    leavers: Sequence[Leaver], events: Sequence[tuple[str, float, dict[str, Any]]], still_held: int
) -> dict[str, Any]:
    """Say for each door what the engine did after its clients had left.

    events: kind, monotonic seconds at which it was over, and its facts. still_held: images that
    hold a slot in the end.
    """
    ended = {
        facts["request_id"]: (at_s, facts["outcome"])
        for kind, at_s, facts in events
        if kind == "Finished"
    }
    steps = [at_s - facts["step_s"] for kind, at_s, facts in events if kind == "StepDone"]
    # One at a time: what begins between a request's end and the next one's arrival is for nobody.
    arrivals = [at_s for kind, at_s, _ in events if kind == "Queued"]
    doors: dict[str, Any] = {}
    for door in dict.fromkeys(leaver.door for leaver in leavers):
        mine = [leaver for leaver in leavers if leaver.door == door]
        # Who left before the request was read never reached the engine: there is nothing to free.
        reached = [leaver for leaver in mine if leaver.request_id in ended]
        after, late, freed_s = Counter[int](), 0, []
        for leaver in reached:
            end_s, _ = ended[leaver.request_id]
            next_s = min((at_s for at_s in arrivals if at_s > end_s), default=math.inf)
            after[sum(leaver.left_at_s < begun_s < end_s for begun_s in steps)] += 1
            late += sum(end_s <= begun_s < next_s for begun_s in steps)
            freed_s.append(max(0.0, end_s - leaver.left_at_s))
        doors[door] = {
            "left": len(mine),
            "reached_the_engine": len(reached),
            "outcomes": dict(Counter(ended[leaver.request_id][1] for leaver in reached)),
            "steps_begun_after_leaving": {str(k): after[k] for k in sorted(after)},
            "steps_begun_after_the_end": late,
            "freed_after_ms_p50": percentile(freed_s, 0.5) * 1000 if freed_s else None,
            "freed_after_ms_max": max(freed_s) * 1000 if freed_s else None,
        }
    return {"step_ms": STEP_S * 1000, "images_still_held": still_held, "doors": doors}
