"""`inference.GRPCInferenceService`: what it answers and what it refuses."""

from __future__ import annotations

import asyncio
import json
import struct

import grpc
import pytest

from models.families.toy import toy_spec
from service.errors import QueueFull
from service.intake import LimitsOptions
from service.oip.generated import open_inference_grpc_pb2 as pb
from service.rpc.generated.mintmark.v1 import image_generation_pb2 as own_pb
from tests.oip_kit import raw_bytes
from tests.oip_rpc_kit import oip_rpc_bench, oip_stub, prompts, raw, typed
from tests.rpc_kit import mask_png, png, refused

REVISION = toy_spec().revision


@pytest.fixture
async def bench():
    async with oip_rpc_bench() as made:
        yield made


@pytest.fixture
async def stub(bench):
    async with oip_stub(bench) as made:
        yield made


def request(*inputs, raw_input_contents=(), outputs=(), **fields):
    wanted = [pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs]
    return pb.ModelInferRequest(
        **{"model_name": "toy", **fields},
        inputs=inputs,
        outputs=wanted,
        raw_input_contents=raw_input_contents,
    )


def parameters(**values):
    kinds = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}
    return {
        name: pb.InferParameter(**{kinds[type(value)]: value}) for name, value in values.items()
    }


async def test_server_and_model_say_how_they_are(bench, stub):
    assert (await stub.ServerLive(pb.ServerLiveRequest())).live
    assert (await stub.ServerReady(pb.ServerReadyRequest())).ready
    assert (await stub.ModelReady(pb.ModelReadyRequest(name="toy", version=REVISION))).ready
    bench.readiness.ready = bench.readiness.live = False
    assert not (await stub.ServerLive(pb.ServerLiveRequest())).live
    assert not (await stub.ServerReady(pb.ServerReadyRequest())).ready
    assert not (await stub.ModelReady(pb.ModelReadyRequest(name="toy"))).ready
    bench.is_loaded = False
    assert not (await stub.ModelReady(pb.ModelReadyRequest(name="toy"))).ready


async def test_metadata(stub):
    server = await stub.ServerMetadata(pb.ServerMetadataRequest())
    model = await stub.ModelMetadata(pb.ModelMetadataRequest(name="toy"))
    assert server.name == "mintmark"
    assert list(server.extensions) == ["binary_tensor_data"]
    assert (model.name, model.platform, list(model.versions)) == ("toy", "mintmark_toy", [REVISION])
    assert [(each.name, each.datatype) for each in model.outputs] == [
        ("IMAGE", "BYTES"),
        ("SEED_USED", "INT64"),
        ("PROVENANCE", "BYTES"),
    ]
    assert all(list(each.shape) == [-1] for each in [*model.inputs, *model.outputs])


async def test_the_repository_is_unimplemented(stub):
    for call in (
        stub.RepositoryIndex(pb.RepositoryIndexRequest()),
        stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest()),
        stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest()),
    ):
        refusal = await refused(call)
        assert refusal.code is grpc.StatusCode.UNIMPLEMENTED
        assert refusal.reason == "method_not_allowed"


async def test_typed_in_typed_out(bench, stub):
    answer = await stub.ModelInfer(
        request(
            prompts(b"a red apple", "ein Käse".encode()),
            typed("SEED", "INT64", int64_contents=[5]),
            typed("STEPS", "INT32", [1, 1], int_contents=[9]),
            typed("GUIDANCE_SCALE", "FP32", fp32_contents=[1.5, 2.5]),
            id="call 1",
            parameters=parameters(output_format="jpeg", output_compression=70, scheduler="euler"),
        )
    )
    assert (answer.model_name, answer.model_version, answer.id) == ("toy", REVISION, "call 1")
    image, seeds, provenance = answer.outputs
    assert list(image.contents.bytes_contents) == [bench.generate.content] * 2
    assert list(seeds.contents.int64_contents) == [5, 5]
    assert json.loads(provenance.contents.bytes_contents[0])["model"] == "toy"
    assert list(image.shape) == list(seeds.shape) == list(provenance.shape) == [2]
    assert not answer.raw_output_contents
    first, second = bench.generate.requests
    assert (first.prompt, second.prompt) == ("a red apple", "ein Käse")
    assert (first.sampling.guidance_scale, second.sampling.guidance_scale) == (1.5, 2.5)
    assert first.sampling.num_inference_steps == 9
    assert first.sampling.scheduler == "euler"
    assert (first.output.format.value, first.output.compression) == ("jpeg", 70)


async def test_raw_in_raw_out(bench, stub):
    answer = await stub.ModelInfer(
        request(
            raw("PROMPT", "BYTES", [1]),
            raw("SEED", "INT64", [1]),
            raw_input_contents=[raw_bytes(b"x"), struct.pack("<q", 2**40)],
            outputs=["SEED_USED", "IMAGE"],
        )
    )
    assert [output.name for output in answer.outputs] == ["SEED_USED", "IMAGE"]
    assert list(answer.raw_output_contents) == [
        struct.pack("<q", 2**40),
        raw_bytes(bench.generate.content),
    ]
    assert not any(output.HasField("contents") for output in answer.outputs)


async def test_a_raw_input_as_kserves_client_writes_it(stub):
    content = raw_bytes(b"x")
    item = raw("PROMPT", "BYTES", [1])
    item.parameters["binary_data_size"].int64_param = len(content)
    assert (await stub.ModelInfer(request(item, raw_input_contents=[content]))).outputs
    item.parameters["binary_data_size"].int64_param = len(content) + 1
    refusal = await refused(stub.ModelInfer(request(item, raw_input_contents=[content])))
    assert refusal.field == "PROMPT"


async def test_a_picture_can_be_edited(bench, stub):
    await stub.ModelInfer(
        request(
            prompts(b"x"),
            typed("INIT_IMAGE", "BYTES", bytes_contents=[png()]),
            typed("MASK", "BYTES", bytes_contents=[mask_png()]),
            typed("STRENGTH", "FP32", fp32_contents=[0.5]),
        )
    )
    (drawn,) = bench.generate.requests
    assert drawn.source.strength == 0.5
    assert drawn.source.originals[0].content == png()
    assert drawn.source.mask.max() == 255


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (request(), "inputs"),
        (request(typed("CFG", "FP32", fp32_contents=[1])), "CFG"),
        (request(prompts(b"x"), prompts(b"x")), "PROMPT"),
        (request(prompts(b"x"), outputs=["PIXELS"]), "PIXELS"),
        (request(prompts(b"x"), outputs=["IMAGE", "IMAGE"]), "IMAGE"),
        (request(prompts(b"x"), parameters=parameters(priority=1)), "priority"),
        (request(prompts(b"x"), parameters={"scheduler": pb.InferParameter()}), "scheduler"),
        (request(prompts(b"x"), parameters=parameters(scheduler=1.5)), "scheduler"),
        (request(prompts(b"x"), parameters=parameters(binary_data_output=True)),
         "binary_data_output"),
        (request(prompts(b"\xff")), "PROMPT"),
        (request(prompts(b" ")), "PROMPT"),
        (request(raw("PROMPT", "BYTES", [1])), "PROMPT"),
        (request(typed("PROMPT", "BYTES", [2], bytes_contents=[b"x"])), "PROMPT"),
        (request(typed("PROMPT", "BYTES", [-1], bytes_contents=[b"x"])), "PROMPT"),
        (request(typed("PROMPT", "BYTES", [2**62, 2**62], bytes_contents=[b"x"])), "PROMPT"),
        (request(typed("PROMPT", "BYTES", [1], int64_contents=[1])), "PROMPT"),
        (request(prompts(b"x"), typed("STEPS", "INT64", int64_contents=[1])), "STEPS"),
        (request(prompts(b"x"), typed("SEED", "INT64", int64_contents=[-1])), "SEED"),
        (request(prompts(b"x"), typed("GUIDANCE_SCALE", "FP32", fp32_contents=[float("nan")])),
         "GUIDANCE_SCALE"),
        (request(prompts(b"x"), raw_input_contents=[raw_bytes(b"x")]), "PROMPT"),
        (request(raw("PROMPT", "BYTES", [1]), raw_input_contents=[raw_bytes(b"x")] * 2),
         "raw_input_contents"),
        (request(raw("PROMPT", "BYTES", [1]), raw_input_contents=[raw_bytes(b"x")[:-1]]), "PROMPT"),
        (request(*(typed(f"T{i}", "INT64", int64_contents=[1]) for i in range(40))), "inputs"),
    ],
)  # fmt: skip
async def test_a_wrong_request_is_refused_by_name(bench, stub, call, field):
    refusal = await refused(stub.ModelInfer(call))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.reason == "invalid_request"
    assert refusal.field == field
    assert field in refusal.message
    assert bench.generate.requests == []


async def test_a_field_from_another_version_of_the_protocol_is_refused(stub):
    call = request(prompts(b"x"))
    call.MergeFromString(b"\xa2\x06\x01x")  # field 100
    assert (await refused(stub.ModelInfer(call))).field == "100"


@pytest.mark.parametrize(("name", "version"), [("nope", ""), ("", ""), ("toy", "1")])
async def test_an_unknown_model_or_version_is_not_found(stub, name, version):
    call = request(prompts(b"x"), model_name=name, model_version=version)
    for made in (
        stub.ModelInfer(call),
        stub.ModelMetadata(pb.ModelMetadataRequest(name=name, version=version)),
        stub.ModelReady(pb.ModelReadyRequest(name=name, version=version)),
    ):
        refusal = await refused(made)
        assert refusal.code is grpc.StatusCode.NOT_FOUND
        assert refusal.reason == "model_not_found"


async def test_nothing_is_drawn_before_the_model_has_loaded(bench, stub):
    bench.is_loaded = False
    refusal = await refused(stub.ModelInfer(request(prompts(b"x"))))
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
    assert refusal.details["RetryInfo"].retry_delay.seconds == 5
    assert bench.metric('mintmark_admission_refusals_total{reason="model_not_ready"}') == 1


async def test_a_failing_picture_fails_the_call_with_its_details(bench, stub):
    bench.generate.error = QueueFull("Full.", retry_after_s=3.0)
    refusal = await refused(stub.ModelInfer(request(prompts(b"a", b"b"))))
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
    assert refusal.reason == "queue_full"
    assert refusal.details["RetryInfo"].retry_delay.seconds == 3


async def wait_for(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("how", ["cancel", "deadline"])
async def test_whoever_leaves_stops_every_picture(bench, stub, how):
    bench.generate.hold = asyncio.Event()
    timeout_s = 0.3 if how == "deadline" else None
    call = stub.ModelInfer(request(prompts(b"a", b"b")), timeout=timeout_s)
    await wait_for(lambda: len(bench.generate.requests) == 2)
    if how == "cancel":
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    else:
        assert (await refused(call)).code is grpc.StatusCode.DEADLINE_EXCEEDED
    await wait_for(lambda: len(bench.generate.cancelled) == 2)


async def test_the_deadline_is_the_shortest_of_all(bench, stub):
    loop = asyncio.get_running_loop()
    before_s = loop.time()
    await stub.ModelInfer(request(prompts(b"x")))
    await stub.ModelInfer(request(prompts(b"x")), timeout=7)
    await stub.ModelInfer(
        request(prompts(b"x"), parameters=parameters(timeout=2_000_000)), timeout=7
    )
    for deadline, within_s in zip(bench.generate.deadlines, (30, 7, 2), strict=True):
        assert before_s + within_s - 0.5 <= deadline.at_s <= loop.time() + within_s + 0.5


async def test_uploads_of_both_services_count_together(bench, stub):
    bench.verifier.may_finish.clear()
    edit = request(prompts(b"x"), typed("INIT_IMAGE", "BYTES", bytes_contents=[png()]))
    async with bench.stub() as own:
        waiting = [own.Verify(own_pb.VerifyRequest(image=b"x")) for _ in range(2)]
        async with asyncio.timeout(10):
            while len(bench.verifier.contents) < 2:
                await asyncio.sleep(0.01)
        refusal = await refused(stub.ModelInfer(edit))
        await stub.ModelInfer(request(prompts(b"x")))  # takes no slot
        bench.verifier.may_finish.set()
        await asyncio.gather(*waiting)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "queue_full")
    await stub.ModelInfer(edit)


async def test_uploads_beyond_the_limits_are_refused():
    limits = LimitsOptions(max_upload_pixels=4096)
    async with oip_rpc_bench(limits=limits) as bench, oip_stub(bench) as stub:
        image = typed("INIT_IMAGE", "BYTES", bytes_contents=[png(65, 64)])
        refusal = await refused(stub.ModelInfer(request(prompts(b"x"), image)))
    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refusal.field == "INIT_IMAGE"


async def test_calls_are_counted_under_their_methods(bench, stub):
    await stub.ModelInfer(request(prompts(b"x")))
    method = "/inference.GRPCInferenceService/ModelInfer"
    assert bench.metric(f'mintmark_rpc_calls_total{{code="OK",method="{method}"}}') == 1


async def test_reflection_and_health_know_the_service(bench):
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    bench.server.set_serving(True)
    async with bench.channel() as channel:
        name = "inference.GRPCInferenceService"
        check = health_pb2_grpc.HealthStub(channel).Check
        health = await check(health_pb2.HealthCheckRequest(service=name))
        reflect = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol=name)
        (answer,) = [each async for each in reflect(iter([asked]))]
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert b"GRPCInferenceService" in answer.file_descriptor_response.file_descriptor_proto[0]
