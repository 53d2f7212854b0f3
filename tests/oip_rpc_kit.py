"""The gRPC server with the Open Inference Protocol beside our own service, over fakes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

from service.oip.generated import open_inference_grpc_pb2 as pb
from service.oip.generated import open_inference_grpc_pb2_grpc as pb_grpc
from service.oip.servicer import open_inference_service
from service.rpc.dependencies import RpcEnvironment
from tests.rpc_kit import RpcBench


@asynccontextmanager
async def oip_rpc_bench(**changes) -> AsyncIterator[RpcBench]:
    """Yield a started bench that serves the protocol; stop it afterwards."""
    bench = RpcBench(**changes)
    loaded = SimpleNamespace(
        generate=bench.generate,
        models=bench.models,
        default_model_id="toy",
        verifier=bench.verifier,
        verify_pool=bench.pool,
    )
    environment = RpcEnvironment(
        limits=bench.limits,
        request_timeout_s=bench.request_timeout_s,
        metrics=bench.metrics,
        loaded=lambda: loaded if bench.is_loaded else None,
        refusal=bench.readiness.refusal,
        uploads=bench.uploads,
    )
    bench.services = (open_inference_service(environment, bench.readiness),)
    await bench.start()
    try:
        yield bench
    finally:
        await bench.server.stop()
        bench.pool.shutdown()


@asynccontextmanager
async def oip_stub(bench: RpcBench) -> AsyncIterator[pb_grpc.GRPCInferenceServiceStub]:
    async with bench.channel() as channel:
        yield pb_grpc.GRPCInferenceServiceStub(channel)


def typed(name: str, datatype: str, shape: list[int] | None = None, **contents):
    """Return one input with typed contents, e.g. `int64_contents=[5]`."""
    (elements,) = contents.values()
    return pb.ModelInferRequest.InferInputTensor(
        name=name,
        datatype=datatype,
        shape=shape or [len(elements)],
        contents=pb.InferTensorContents(**contents),
    )


def raw(name: str, datatype: str, shape: list[int]):
    """Return one input whose contents are raw."""
    return pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)


def prompts(*texts: bytes):
    return typed("PROMPT", "BYTES", bytes_contents=texts)
