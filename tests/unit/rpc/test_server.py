"""The gRPC server's health follows readiness, and its shutdown waits for nobody."""

from __future__ import annotations

import asyncio
import socket

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service.errors import ConfigurationError
from service.rpc.server import RpcServer

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@pytest.fixture
async def server(port):
    made = RpcServer("127.0.0.1", port)
    await made.start()
    yield made
    await made.stop()


async def test_health_follows_readiness(server, port):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == NOT_SERVING
        server.set_serving(True)
        assert (await watch.read()).status == SERVING
        server.set_serving(False)
        assert (await watch.read()).status == NOT_SERVING
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == NOT_SERVING


async def test_an_unknown_service_is_not_found(server, port):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service="nope")
            )
    assert refusal.value.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_what_is_served(server, port):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        )
        answer = await call.read()
    names = {service.name for service in answer.list_services_response.service}
    assert "grpc.health.v1.Health" in names


async def test_an_open_watch_does_not_hold_the_shutdown(port):
    server = RpcServer("127.0.0.1", port)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        await watch.read()
        async with asyncio.timeout(5):
            await server.stop()


async def test_a_port_in_use_is_a_clear_error(server, port):
    second = RpcServer("127.0.0.1", port)
    with pytest.raises(ConfigurationError, match="MINTMARK_SERVER__GRPC_PORT"):
        await second.start()
    await second.stop()
