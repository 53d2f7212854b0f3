"""The load of the front-door benchmark: the same for every arm, from one process.

Two shapes. *Closed*: every connection asks again as soon as it has its answer, so that an answer
waits behind those of all the others. *Paced*: the connections together ask so many times a second,
whether or not they have their answers, and the time counts from when each was due.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from service.domain.identity import Deadline, new_request_id
from service.domain.request import GenerationRequest, SamplingParams

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from loadtests.bench_front_parts import Parts

BODY = {"prompt": "a red apple", "num_inference_steps": 1, "guidance_scale": 1.0, "seed": 7}
HTTP_PATH = "/v1/images/generations"
RPC_METHOD = "/mintmark.v1.ImageGeneration/Generate"
UNARY_ECHO_METHOD = "/mintmark.v1.ImageGeneration/EchoOnce"  # of the echo only
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Sample:
    """What one round of one arm took. `cpu_ms`: of the serving process, per request."""

    p50_ms: float
    p99_ms: float
    per_s: float
    cpu_ms: float


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the values lie, without interpolation."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def drive(
    askers: Sequence[Callable[[], Awaitable[None]]], requests: int, rate_per_s: float | None
) -> tuple[list[float], float]:
    """Ask `requests` times over all connections; return the seconds of each, and of all."""
    numbers = iter(range(requests))
    began_s = time.perf_counter()
    taken = await asyncio.gather(
        *(_one_connection(ask, numbers, began_s, rate_per_s) for ask in askers)
    )
    return list(itertools.chain(*taken)), time.perf_counter() - began_s


async def _one_connection(
    ask: Callable[[], Awaitable[None]],
    numbers: Iterator[int],
    began_s: float,
    rate_per_s: float | None,
) -> list[float]:
    taken = []
    for number in numbers:
        due_s = time.perf_counter()
        if rate_per_s is not None:
            due_s = began_s + number / rate_per_s
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        await ask()
        taken.append(time.perf_counter() - due_s)
    return taken


def to_sample(taken: Sequence[float], wall_s: float, cpu_s: float) -> Sample:
    """Return the figures of one round."""
    count = len(taken)
    return Sample(
        percentile(taken, 0.5) * 1000,
        percentile(taken, 0.99) * 1000,
        count / wall_s,
        cpu_s / count * 1000,
    )


class HttpConnection:
    """One kept-alive connection that asks for a picture; hand-written, so that it costs little."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        body = json.dumps(BODY).encode()
        self._request = (
            f"POST {HTTP_PATH} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        self.answer_bytes = 0

    @classmethod
    async def open(cls, port: int) -> HttpConnection:
        """Connect."""
        return cls(*await asyncio.open_connection(HOST, port, limit=1 << 20))

    async def ask(self) -> None:
        """Ask once and read the whole answer. Raises RuntimeError unless it is a 200."""
        self._writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode("latin-1"))
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        self.answer_bytes = len(await self._reader.readexactly(int(length)))

    async def close(self) -> None:
        """Leave."""
        self._writer.close()
        await self._writer.wait_closed()


class RpcConnection:
    """One channel with a connection of its own that asks for a picture, without any parsing."""

    def __init__(self, port: int, request: bytes, method: str = RPC_METHOD) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.aio.insecure_channel(f"{HOST}:{port}", options)
        # A unary answer is read as a stream of one message.
        self._call: Any = self._channel.unary_stream(method, None, None)
        self._request = request
        self.message_bytes: tuple[int, ...] = ()

    async def ask(self) -> None:
        """Ask once and read the whole stream. Raises grpc.aio.AioRpcError unless it ends well."""
        call = self._call(self._request)
        self.message_bytes = tuple([len(message) async for message in call])

    async def close(self) -> None:
        """Leave."""
        await self._channel.close(None)


async def measure_in_process(
    parts: Parts, kind: str, requests: int, connections: int, rate_per_s: float | None
) -> Sample:
    """Ask the bare engine, or the use case, as often and as many at once, without a transport."""
    sampling = SamplingParams(
        seed=7,
        num_inference_steps=1,
        guidance_scale=1.0,
        scheduler=parts.model.spec.defaults.scheduler,
    )
    width_px, height_px = parts.model.spec.default_size_px
    request = GenerationRequest(
        model_id=parts.model.spec.model_id,
        prompt=str(BODY["prompt"]),
        negative_prompt="",
        width_px=width_px,
        height_px=height_px,
        num_images=1,
        sampling=sampling,
    )

    async def ask_engine() -> None:
        deadline = Deadline.after(60.0, time.monotonic())
        ticket = parts.client.submit(request, request_id=new_request_id(), deadline=deadline)
        await ticket.images()

    async def ask_use_case() -> None:
        deadline = Deadline.after(60.0, time.monotonic())
        await parts.use_case(request, request_id=new_request_id(), deadline=deadline)

    ask = ask_engine if kind == "engine" else ask_use_case
    await drive([ask] * connections, connections * 4, None)  # warm-up
    cpu_s = time.process_time()
    taken, wall_s = await drive([ask] * connections, requests, rate_per_s)
    return to_sample(taken, wall_s, time.process_time() - cpu_s)
