"""The gRPC server over fakes, in this process, and ways to call it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from PIL import Image

from models.families.toy import toy_spec
from models.spec import ModelSpec
from service.intake import LimitsOptions
from service.rpc.dependencies import RpcEnvironment
from service.rpc.generated.mintmark.v1 import image_generation_pb2_grpc as pb_grpc
from service.rpc.options import RpcOptions
from service.rpc.server import FurtherService, RpcServer, rpc_address
from service.rpc.uploads import UploadSlots
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import NoTracer, Tracer
from tests.fakes import FakeGeneration, FakeReadiness, FakeVerifier, flat_pixels


@dataclass
class RpcBench:
    """Everything a test of the gRPC server may want to steer. `start` before calling."""

    generate: FakeGeneration = field(default_factory=FakeGeneration)
    verifier: FakeVerifier = field(default_factory=FakeVerifier)
    readiness: FakeReadiness = field(default_factory=FakeReadiness)
    metrics: Metrics = field(default_factory=lambda: Metrics("test"))
    limits: LimitsOptions = field(default_factory=LimitsOptions)
    options: RpcOptions = field(default_factory=RpcOptions)
    tracer: Tracer = field(default_factory=NoTracer)
    models: dict[str, ModelSpec] = field(default_factory=lambda: {"toy": toy_spec()})
    is_loaded: bool = True
    request_timeout_s: float = 30.0
    uploads: UploadSlots = field(default_factory=lambda: UploadSlots(2))
    interceptors: tuple[grpc.aio.ServerInterceptor[Any, Any], ...] = ()
    services: tuple[FurtherService, ...] = ()
    port: int = 0
    pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(2, thread_name_prefix="verify")
    )

    async def start(self) -> RpcServer:
        loaded = SimpleNamespace(
            generate=self.generate,
            models=self.models,
            default_model_id="toy",
            verifier=self.verifier,
            verify_pool=self.pool,
        )
        environment = RpcEnvironment(
            limits=self.limits,
            request_timeout_s=self.request_timeout_s,
            metrics=self.metrics,
            loaded=lambda: loaded if self.is_loaded else None,
            refusal=self.readiness.refusal,
            uploads=self.uploads,
            tracer=self.tracer,
        )
        address = rpc_address("127.0.0.1", self.port)
        self.server = RpcServer(
            address, environment, self.options, self.interceptors, self.services
        )
        self.port = await self.server.start()
        return self.server

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def channel(self) -> grpc.aio.Channel:
        unbounded = [("grpc.max_receive_message_length", -1)]
        return grpc.aio.insecure_channel(self.target, options=unbounded)

    @asynccontextmanager
    async def stub(self) -> AsyncIterator[pb_grpc.ImageGenerationStub]:
        async with self.channel() as channel:
            yield pb_grpc.ImageGenerationStub(channel)

    def metric(self, line_start: str) -> float:
        """Return the value of the one exposed series that starts with `line_start`; 0 if none."""
        lines = self.metrics.exposition().decode().splitlines()
        found = [line for line in lines if line.startswith(line_start)]
        assert len(found) <= 1, found
        return float(found[0].rpartition(" ")[2]) if found else 0.0


@asynccontextmanager
async def rpc_bench(**changes) -> AsyncIterator[RpcBench]:
    """Yield a started bench; stop it afterwards."""
    bench = RpcBench(**changes)
    await bench.start()
    try:
        yield bench
    finally:
        bench.verifier.may_finish.set()
        await bench.server.stop()
        bench.pool.shutdown()


@dataclass(frozen=True)
class Refusal:
    """A failed call as a client sees it: status and the details by their type."""

    code: grpc.StatusCode
    message: str
    details: dict[str, Any]  # messages of google.rpc, by the name of their type
    request_id: str | None

    @property
    def reason(self) -> str:
        return str(self.details["ErrorInfo"].reason)

    @property
    def field(self) -> str | None:
        if "BadRequest" not in self.details:
            return None
        (violation,) = self.details["BadRequest"].field_violations
        return str(violation.field)


async def refused(call) -> Refusal:
    """Await a call, or read its stream, which must fail; return how."""
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        status = await rpc_status.aio.from_call(call)  # type: ignore[attr-defined]
        details = {}
        for packed in status.details if status else ():
            name = packed.TypeName().rpartition(".")[2]
            details[name] = getattr(error_details_pb2, name)()
            assert packed.Unpack(details[name])
        # A call that fails at once may end on the client's side before its metadata was read.
        found = dict(error.initial_metadata() or ()).get("x-request-id")
        if found is None and "RequestInfo" in details:
            found = details["RequestInfo"].request_id
        return Refusal(error.code(), error.details() or "", details, found)
    raise AssertionError("the call succeeded")


async def wait_until(condition, timeout_s: float = 5.0) -> None:
    """Return once `condition()` holds; raise TimeoutError if it never does.

    A call's answer may be with its client before its handler has returned and was counted.
    """
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


def png(width_px: int = 64, height_px: int = 64) -> bytes:
    """Return a small picture as a file."""
    buffer = BytesIO()
    Image.fromarray(flat_pixels(width_px, height_px)).save(buffer, "PNG")
    return buffer.getvalue()


def mask_png(width_px: int = 64, height_px: int = 64) -> bytes:
    """Return a mask whose left half is transparent: to be drawn anew."""
    pixels = np.zeros((height_px, width_px, 4), np.uint8)
    pixels[:, width_px // 2 :, 3] = 255
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
