"""The same keys and limits over gRPC, with a real server and a real channel."""

from __future__ import annotations

from contextlib import asynccontextmanager

import grpc
import pytest

from service.access.caller import Scope, current_caller
from service.access.rpc import METHOD_SCOPES, AccessInterceptor
from service.errors import ServiceError
from tests.access_kit import ADMIN_KEY, APP_KEY, VERIFY_KEY, keyed_access, make_entry

SERVICE = "mintmark.v1.ImageGeneration"
INFERENCE = "inference.GRPCInferenceService"


class Refusals(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Stands in for what gives errors their shape: ends the call with the error's status."""

    async def intercept_service(self, continuation, details):
        try:
            return await continuation(details)
        except ServiceError as error:
            refused = error

        async def refuse(requests, context):
            code = getattr(grpc.StatusCode, refused.grpc_status)
            await context.abort(code, refused.message)

        return grpc.stream_stream_rpc_method_handler(refuse)


def who() -> bytes:
    caller = current_caller.get()
    return caller.name.encode() if caller else b"nobody"


async def unary(request, context):
    return who()


async def stream(request, context):
    yield who()
    yield who()


async def writing(request, context):
    await context.write(who())


def handlers(service, methods):
    return grpc.method_handlers_generic_handler(service, methods)


@asynccontextmanager
async def serving(access):
    """Yield a channel to a server with one method of each kind."""
    server = grpc.aio.server(interceptors=[Refusals(), AccessInterceptor(access)])
    methods = {
        "Generate": grpc.unary_stream_rpc_method_handler(stream),
        "Verify": grpc.unary_unary_rpc_method_handler(unary),
        "ListModels": grpc.unary_unary_rpc_method_handler(unary),
        "Added": grpc.unary_unary_rpc_method_handler(unary),
    }
    health = {"Watch": grpc.unary_stream_rpc_method_handler(writing)}
    inference = {
        name: grpc.unary_unary_rpc_method_handler(unary) for name in ("ServerLive", "ModelInfer")
    }
    server.add_generic_rpc_handlers(
        (
            handlers(SERVICE, methods),
            handlers(INFERENCE, inference),
            handlers("grpc.health.v1.Health", health),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(0)


def metadata(*keys):
    return tuple(("authorization", f"Bearer {key}") for key in keys)


async def ask(channel, method, *keys):
    """Return the answer, or the status a call ended with."""
    call = channel.unary_unary(f"/{SERVICE}/{method}")
    try:
        return await call(b"", metadata=metadata(*keys))
    except grpc.aio.AioRpcError as error:
        return error.code()


async def test_a_key_with_the_scope_is_let_through_as_its_caller():
    async with serving(keyed_access()) as channel:
        call = channel.unary_stream(f"/{SERVICE}/Generate")(b"", metadata=metadata(APP_KEY))
        assert [message async for message in call] == [b"app", b"app"]
        assert await ask(channel, "Verify", VERIFY_KEY) == b"checker"
        assert await ask(channel, "ListModels", ADMIN_KEY) == b"boss"


@pytest.mark.parametrize("keys", [[], ["mm_" + "x" * 43], [APP_KEY, VERIFY_KEY]])
async def test_without_one_known_key_nothing_is_called(keys):
    async with serving(keyed_access()) as channel:
        for method in ("Verify", "ListModels", "Added"):
            assert await ask(channel, method, *keys) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_missing_scope_is_forbidden_and_a_forgotten_method_needs_generate():
    async with serving(keyed_access()) as channel:
        assert await ask(channel, "Verify", APP_KEY) is grpc.StatusCode.PERMISSION_DENIED
        assert await ask(channel, "Added", VERIFY_KEY) is grpc.StatusCode.PERMISSION_DENIED
        assert await ask(channel, "Added", APP_KEY) == b"app"


async def test_health_needs_no_key():
    async with serving(keyed_access()) as channel:
        call = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
        assert [message async for message in call] == [b"nobody"]
        assert await channel.unary_unary(f"/{INFERENCE}/ServerLive")(b"") == b"nobody"
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary(f"/{INFERENCE}/ModelInfer")(b"")


async def test_the_rate_is_one_account_for_both_transports():
    access = keyed_access(make_entry(VERIFY_KEY, "c", Scope.VERIFY, requests_per_minute=2))
    access.quota.count_call(access.authenticate(f"Bearer {VERIFY_KEY}"))  # as over HTTP
    async with serving(access) as channel:
        assert await ask(channel, "Verify", VERIFY_KEY) == b"c"
        assert await ask(channel, "Verify", VERIFY_KEY) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await ask(channel, "ListModels", VERIFY_KEY) == b"c"


def test_every_method_that_is_served_is_in_the_table():
    from service.oip.generated import open_inference_grpc_pb2 as inference_pb
    from service.rpc.generated.mintmark.v1 import image_generation_pb2 as pb

    ours = pb.DESCRIPTOR.services_by_name["ImageGeneration"].methods_by_name
    inference = inference_pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    public = {"ServerLive", "ServerReady", "ServerMetadata"}
    assert set(METHOD_SCOPES) == set(ours) | set(inference) - public
