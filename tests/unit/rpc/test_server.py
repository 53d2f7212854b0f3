"""The gRPC server around its methods: health, reflection, identity, interceptors, its end."""

from __future__ import annotations

import asyncio
import logging
import re

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service.domain.identity import new_request_id
from service.errors import ConfigurationError, Unauthenticated
from service.rpc.generated.mintmark.v1 import image_generation_pb2 as pb
from service.rpc.options import RpcOptions
from service.rpc.server import FurtherService, ServiceRegistry, rpc_address
from service.telemetry.logging import ACCESS_LOGGER
from tests.rpc_kit import RpcBench, refused, rpc_bench, wait_until

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
NAMES = ["", "mintmark.v1.ImageGeneration"]
GENERATE = "/mintmark.v1.ImageGeneration/Generate"


@pytest.mark.parametrize("name", NAMES)
async def test_health_follows_readiness(bench, name):
    async with bench.channel() as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=name))
        assert (await watch.read()).status == NOT_SERVING
        bench.server.set_serving(True)
        assert (await watch.read()).status == SERVING
        bench.server.set_serving(False)
        assert (await watch.read()).status == NOT_SERVING
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == NOT_SERVING


async def test_an_unknown_service_is_not_found(bench):
    async with bench.channel() as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        refusal = await refused(stub.Check(health_pb2.HealthCheckRequest(service="nope")))
    assert refusal.code is grpc.StatusCode.NOT_FOUND
    count = 'mintmark_rpc_calls_total{code="NOT_FOUND",method="/grpc.health.v1.Health/Check"}'
    await wait_until(lambda: bench.metric(count) == 1)


async def test_an_unknown_method_is_unimplemented_and_makes_no_series(bench):
    async with bench.channel() as channel:
        refusal = await refused(channel.unary_unary("/mintmark.v1.ImageGeneration/Nope")(b""))
    assert refusal.code is grpc.StatusCode.UNIMPLEMENTED
    assert b"Nope" not in bench.metrics.exposition()


async def test_reflection_shows_what_is_served(bench):
    async with bench.channel() as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        questions = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=NAMES[1]),
        ]
        listed, described = [answer async for answer in stub.ServerReflectionInfo(iter(questions))]
    names = {service.name for service in listed.list_services_response.service}
    assert names == {
        "mintmark.v1.ImageGeneration",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    files = described.file_descriptor_response.file_descriptor_proto
    assert pb.DESCRIPTOR.serialized_pb in files


@pytest.mark.parametrize("offered", ["mine", "A-z.0_9", "x" * 64])
async def test_a_good_request_id_is_kept(bench, offered):
    async with bench.stub() as stub:
        call = stub.ListModels(pb.ListModelsRequest(), metadata=(("x-request-id", offered),))
        await call
        assert dict(await call.initial_metadata())["x-request-id"] == offered


@pytest.mark.parametrize(
    "metadata",
    [
        [("x-request-id", "")],
        [("x-request-id", "a b")],
        [("x-request-id", "x" * 65)],
        [("x-request-id", "one"), ("x-request-id", "two")],
    ],
)
async def test_a_bad_request_id_is_refused_under_a_fresh_one(bench, metadata):
    async with bench.stub() as stub:
        call = stub.Generate(pb.GenerateRequest(prompt="x"), metadata=metadata)
        refusal = await refused(call)
    assert (refusal.code, refusal.field) == (grpc.StatusCode.INVALID_ARGUMENT, "x-request-id")
    assert refusal.request_id is not None
    assert re.fullmatch("req_[0-9a-f]{32}", refusal.request_id)
    assert bench.generate.requests == []


async def test_a_call_without_an_id_gets_one_and_uses_it(bench):
    async with bench.stub() as stub:
        call = stub.Generate(pb.GenerateRequest(prompt="x"))
        assert [event async for event in call]
        metadata = dict(await call.initial_metadata())
    assert bench.generate.request_ids == [metadata["x-request-id"]]
    assert len(metadata["x-request-id"]) == len(new_request_id())


async def test_calls_are_logged_without_their_words_and_probes_not_at_all(bench, caplog):
    with caplog.at_level(logging.INFO, ACCESS_LOGGER):
        async with bench.channel() as channel:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        async with bench.stub() as stub:
            request = pb.GenerateRequest(prompt="zebra", n=99)
            await refused(stub.Generate(request, metadata=(("x-request-id", "mine"),)))
    (record,) = (record for record in caplog.records if record.name == ACCESS_LOGGER)
    assert record.rpc == GENERATE
    assert record.status == "INVALID_ARGUMENT"
    assert record.duration_ms >= 0
    assert "zebra" not in caplog.text


class RefusesEarly(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Turns calls away before their handler is even looked up."""

    async def intercept_service(self, continuation, handler_call_details):
        if handler_call_details.method.startswith("/grpc.health."):
            return await continuation(handler_call_details)
        raise Unauthenticated("No key.")


class RefusesLate(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Turns calls away in the place of their handler."""

    async def intercept_service(self, continuation, handler_call_details):
        handler = await continuation(handler_call_details)
        if handler is None or not handler.unary_stream:
            return handler

        async def refuse(request, context):
            if request is not None:
                raise Unauthenticated("No key.")
            yield

        return grpc.unary_stream_rpc_method_handler(
            refuse, handler.request_deserializer, handler.response_serializer
        )


@pytest.mark.parametrize("interceptor", [RefusesEarly(), RefusesLate()])
async def test_an_interceptors_refusal_has_the_shape_of_every_error(interceptor):
    async with rpc_bench(interceptors=(interceptor,)) as bench:
        async with bench.stub() as stub:
            refusal = await refused(stub.Generate(pb.GenerateRequest(prompt="x")))
        async with bench.channel() as channel:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        count = f'mintmark_rpc_calls_total{{code="UNAUTHENTICATED",method="{GENERATE}"}}'
        await wait_until(lambda: bench.metric(count) == 1)
    assert refusal.code is grpc.StatusCode.UNAUTHENTICATED
    assert refusal.reason == "unauthenticated"
    assert refusal.request_id is not None
    assert bench.generate.requests == []


class RefusesWhenTold(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Turns calls away while `is_closed`, in one of the two ways; then lets the next one in."""

    def __init__(self, refuses: RefusesEarly | RefusesLate) -> None:
        self.is_closed = False
        self._refuses = refuses

    async def intercept_service(self, continuation, handler_call_details):
        if self.is_closed:
            return await self._refuses.intercept_service(continuation, handler_call_details)
        return await continuation(handler_call_details)


@pytest.mark.parametrize("refuses", [RefusesEarly(), RefusesLate()])
async def test_what_one_call_met_is_not_remembered_for_the_next(refuses):
    door = RefusesWhenTold(refuses)
    async with rpc_bench(interceptors=(door,)) as bench, bench.stub() as stub:
        for is_closed in (False, True, False, True, False):
            door.is_closed = is_closed
            call = stub.Generate(pb.GenerateRequest(prompt="x"))
            if is_closed:
                assert (await refused(call)).code is grpc.StatusCode.UNAUTHENTICATED
            else:
                assert [event async for event in call]
    assert len(bench.generate.requests) == 3


async def test_names_that_strangers_make_up_are_counted_under_one_name():
    async with rpc_bench(interceptors=(RefusesEarly(),)) as bench, bench.channel() as channel:
        for name in ("/made.Up/One", "/made.Up/Two"):
            refusal = await refused(channel.unary_unary(name, None, None)(b""))
            assert refusal.code is grpc.StatusCode.UNAUTHENTICATED
        count = 'mintmark_rpc_calls_total{code="UNAUTHENTICATED",method="unmatched"}'
        await wait_until(lambda: bench.metric(count) == 2)
        assert b"made" not in bench.metrics.exposition()


async def test_what_runs_is_answered_while_new_calls_are_refused(bench):
    bench.generate.hold = release = asyncio.Event()
    async with bench.stub() as stub, bench.channel() as probes:
        watch = health_pb2_grpc.HealthStub(probes).Watch(health_pb2.HealthCheckRequest())
        bench.server.set_serving(True)
        while (await watch.read()).status != SERVING:
            pass
        running = stub.Generate(pb.GenerateRequest(prompt="x"))
        await running.read()
        draining = asyncio.create_task(bench.server.drain())
        assert (await watch.read()).status == NOT_SERVING
        refusal = await refused(stub.Generate(pb.GenerateRequest(prompt="x")))
        assert refusal.code is grpc.StatusCode.UNAVAILABLE
        assert refusal.reason == "draining"
        assert "RetryInfo" in refusal.details
        await asyncio.sleep(1.2)  # until connections are told to go
        assert not draining.done()
        release.set()
        kinds = []
        while (event := await running.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            kinds.append(event.WhichOneof("event"))
        assert kinds[-1] == "done"
        assert await running.code() is grpc.StatusCode.OK
        async with asyncio.timeout(5):  # although the watch is still open
            await draining
    assert len(bench.generate.requests) == 1


async def test_a_drain_without_calls_is_over_at_once_and_may_be_repeated(bench):
    async with asyncio.timeout(1):
        await bench.server.drain()
        await bench.server.drain()


async def test_an_open_watch_does_not_hold_the_shutdown(bench):
    async with bench.channel() as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        await watch.read()
        async with asyncio.timeout(5):
            await bench.server.stop()


async def test_a_port_in_use_is_a_clear_error(bench):
    second = RpcBench(port=bench.port)
    with pytest.raises(ConfigurationError, match="MINTMARK_SERVER__GRPC_PORT"):
        await second.start()
    await second.server.stop()
    second.pool.shutdown()


async def test_calls_beyond_the_bound_are_refused():
    async with rpc_bench(options=RpcOptions(max_concurrent_calls=1)) as bench:
        bench.generate.hold = asyncio.Event()
        async with bench.stub() as stub:
            running = stub.Generate(pb.GenerateRequest(prompt="x"))
            await running.read()
            refusal = await refused(stub.ListModels(pb.ListModelsRequest()))
            running.cancel()
    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1:1"), ("::1", "[::1]:1"), ("localhost", "localhost:1")],
)
def test_an_ipv6_address_goes_in_brackets(host, address):
    assert rpc_address(host, 1) == address


async def test_a_further_service_has_the_same_surroundings():
    async def fail(request, context):
        raise RuntimeError("secret")

    handler = grpc.method_handlers_generic_handler(
        "other.Service", {"Fail": grpc.unary_unary_rpc_method_handler(fail)}
    )
    file = descriptor_pb2.FileDescriptorProto(name="other.proto", package="other")
    file.message_type.add(name="Nothing")
    file.service.add(name="Service").method.add(
        name="Fail", input_type=".other.Nothing", output_type=".other.Nothing"
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    service = FurtherService(
        pool.FindServiceByName("other.Service"),
        lambda registry: registry.add_generic_rpc_handlers((handler,)),
    )
    async with rpc_bench(services=(service,)) as bench, bench.channel() as channel:
        refusal = await refused(channel.unary_unary("/other.Service/Fail", None, None)(b""))
        health = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="other.Service")
        assert (await health.Check(request)).status == NOT_SERVING
        count = 'mintmark_rpc_calls_total{code="INTERNAL",method="/other.Service/Fail"}'
        await wait_until(lambda: bench.metric(count) == 1)
    assert refusal.code is grpc.StatusCode.INTERNAL
    assert refusal.reason == "internal_error"
    assert "secret" not in refusal.message


async def test_waiting_takes_no_more_tasks_the_more_methods_are_served():
    file = descriptor_pb2.FileDescriptorProto(name="wide.proto", package="wide")
    file.message_type.add(name="Nothing")
    methods = file.service.add(name="Service").method
    for number in range(20):
        methods.add(name=f"Method{number}", input_type=".wide.Nothing", output_type=".wide.Nothing")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)

    def add(registry: ServiceRegistry) -> None:
        # Twice, as generated code does.
        handlers = {method.name: grpc.unary_unary_rpc_method_handler(echo) for method in methods}
        handler = grpc.method_handlers_generic_handler("wide.Service", handlers)
        registry.add_generic_rpc_handlers((handler,))
        registry.add_registered_method_handlers("wide.Service", handlers)

    async def echo(request, context):
        return request

    wide = FurtherService(pool.FindServiceByName("wide.Service"), add)
    before = len(asyncio.all_tasks())
    async with rpc_bench():
        tasks = len(asyncio.all_tasks())
    assert tasks - before < len(pb.DESCRIPTOR.services_by_name["ImageGeneration"].methods)
    async with rpc_bench(services=(wide,)) as bench:
        assert len(asyncio.all_tasks()) == tasks
        async with bench.channel() as channel:
            assert await channel.unary_unary("/wide.Service/Method7", None, None)(b"x") == b"x"
