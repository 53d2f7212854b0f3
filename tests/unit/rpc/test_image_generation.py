"""Every method of mintmark.v1 over fakes: what is answered, refused, stopped and counted."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from models.families.toy import toy_spec
from service.domain.result import RequestEnergy
from service.errors import (
    Cancelled,
    DeadlineExceeded,
    Draining,
    InvalidRequest,
    QueueFull,
    RateLimited,
    SigningFailed,
)
from service.intake import LimitsOptions
from service.rpc.generated.mintmark.v1 import image_generation_pb2 as pb
from tests.rpc_kit import mask_png, png, refused, rpc_bench, wait_until

GENERATE = "/mintmark.v1.ImageGeneration/Generate"


def with_output_format(number: int) -> pb.GenerateRequest:
    """Return a request of a client whose protos are newer, or wrong."""
    return pb.GenerateRequest(prompt="x", output_format=number)  # type: ignore[arg-type]


async def events_of(call):
    return [(event.WhichOneof("event"), event) async for event in call]


async def test_a_generation_is_told_from_acceptance_to_the_last_image(bench):
    request = pb.GenerateRequest(prompt="a red apple", n=2, seed=5, partial_images=1)
    async with bench.stub() as stub:
        events = await events_of(stub.Generate(request, metadata=(("x-request-id", "mine"),)))
    assert [kind for kind, _ in events] == [
        "accepted",
        "progress",
        "preview",
        "image",
        "progress",
        "preview",
        "image",
        "done",
    ]
    accepted, done = events[0][1].accepted, events[-1][1].done
    assert accepted.request_id == done.request_id == "mine"
    assert accepted.queue_position == 0
    assert accepted.estimated_wait.ToMilliseconds() == 500
    assert done.model == "toy"
    assert done.usage.images == 2
    second = events[6][1].image
    assert second.image_index == 1
    assert second.image.content == bench.generate.content
    assert second.image.seed == 6
    assert second.image.mime_type == "image/png"
    assert second.image.watermark_id == "000abcde"


async def test_warnings_are_passed_on(bench):
    bench.generate.warnings = ("The model does not know 'zeppelin'.",)
    async with bench.stub() as stub:
        events = await events_of(stub.Generate(pb.GenerateRequest(prompt="x")))
    assert list(events[-1][1].done.warnings) == list(bench.generate.warnings)


async def test_done_says_what_the_pictures_took_where_it_is_counted(bench):
    async with bench.stub() as stub:
        events = await events_of(stub.Generate(pb.GenerateRequest(prompt="x", n=2)))
        assert not events[-1][1].done.HasField("energy")
        bench.generate.energy = RequestEnergy(joules=5.0, sources=("nvml:0",))
        events = await events_of(stub.Generate(pb.GenerateRequest(prompt="x", n=2)))
    energy = events[-1][1].done.energy
    assert (energy.joules, energy.joules_per_image) == (5.0, 2.5)
    assert list(energy.sources) == ["nvml:0"]


async def test_what_is_not_said_is_the_models_default_and_zero_is_said(bench):
    async with bench.stub() as stub:
        await events_of(stub.Generate(pb.GenerateRequest(prompt="x")))
        await events_of(stub.Generate(pb.GenerateRequest(prompt="x", seed=0, guidance_scale=0)))
    silent, said = bench.generate.requests
    assert silent.sampling.guidance_scale == toy_spec().defaults.guidance_scale
    assert silent.sampling.num_inference_steps == toy_spec().defaults.num_inference_steps
    assert said.sampling.seed == 0
    assert said.sampling.guidance_scale == 0


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("prompt", pb.GenerateRequest()),
        ("prompt", pb.GenerateRequest(prompt=" \n")),
        ("prompt", pb.GenerateRequest(prompt="x" * 4001)),
        ("negative_prompt", pb.GenerateRequest(prompt="x", negative_prompt="x" * 4001)),
        ("n", pb.GenerateRequest(prompt="x", n=0)),
        ("n", pb.GenerateRequest(prompt="x", n=11)),
        ("n", pb.GenerateRequest(prompt="x", n=-(2**31))),
        ("size", pb.GenerateRequest(prompt="x", size=pb.Size())),
        ("size", pb.GenerateRequest(prompt="x", size=pb.Size(width_px=64))),
        ("size", pb.GenerateRequest(prompt="x", size=pb.Size(width_px=-64, height_px=64))),
        ("size", pb.GenerateRequest(prompt="x", size=pb.Size(width_px=2**31 - 1, height_px=1))),
        ("seed", pb.GenerateRequest(prompt="x", seed=-1)),
        ("seed", pb.GenerateRequest(prompt="x", seed=2**63 - 1, n=2)),
        ("num_inference_steps", pb.GenerateRequest(prompt="x", num_inference_steps=0)),
        ("num_inference_steps", pb.GenerateRequest(prompt="x", num_inference_steps=151)),
        ("guidance_scale", pb.GenerateRequest(prompt="x", guidance_scale=float("nan"))),
        ("guidance_scale", pb.GenerateRequest(prompt="x", guidance_scale=float("inf"))),
        ("guidance_scale", pb.GenerateRequest(prompt="x", guidance_scale=-1)),
        ("scheduler", pb.GenerateRequest(prompt="x", scheduler="")),
        ("scheduler", pb.GenerateRequest(prompt="x", scheduler="x" * 9000)),
        ("output_format", with_output_format(99)),
        ("output_format", with_output_format(-1)),
        ("output_compression", pb.GenerateRequest(prompt="x", output_compression=101)),
        ("partial_images", pb.GenerateRequest(prompt="x", partial_images=4)),
        ("partial_images", pb.GenerateRequest(prompt="x", partial_images=-1)),
    ],
)
async def test_what_is_out_of_range_is_refused_by_name(bench, field, request_):
    async with bench.stub() as stub:
        refusal = await refused(stub.Generate(request_))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.reason == "invalid_request"
    assert refusal.field == field
    assert bench.generate.requests == []


@pytest.mark.parametrize(
    ("number", "extra"),
    [
        (1000, b"\xc2\x3e\x01x"),  # of the request: field 1000, a string
        (9, b"\x2a\x02\x48\x01"),  # of its size (field 5): field 9, a number
    ],
)
async def test_a_field_of_another_version_is_refused_not_ignored(bench, number, extra):
    request = pb.GenerateRequest.FromString(
        pb.GenerateRequest(prompt="x").SerializeToString() + extra
    )
    async with bench.stub() as stub:
        refusal = await refused(stub.Generate(request))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.field == str(number)


async def test_bytes_that_are_no_message_end_the_call_and_not_the_server(bench):
    async with bench.channel() as channel:
        call = channel.unary_stream(GENERATE)(b"\x0a\xff")
        refusal = await refused(call)
        assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
        again = channel.unary_stream(GENERATE)(pb.GenerateRequest(prompt="x").SerializeToString())
        assert len([message async for message in again]) == 4


async def test_an_unknown_model_is_not_found(bench):
    async with bench.stub() as stub:
        refusal = await refused(stub.Generate(pb.GenerateRequest(prompt="x", model="nope")))
        await events_of(stub.Generate(pb.GenerateRequest(prompt="x", model="")))
    assert refusal.code is grpc.StatusCode.NOT_FOUND
    assert refusal.reason == "model_not_found"
    assert refusal.field == "model"
    assert bench.generate.requests[0].model_id == "toy"


@pytest.mark.parametrize(
    ("error", "code", "retry_s"),
    [
        (QueueFull("Full.", retry_after_s=2.5), grpc.StatusCode.UNAVAILABLE, 2.5),
        (Draining("Bye."), grpc.StatusCode.UNAVAILABLE, 1.0),
        (RateLimited("Slow down.", retry_after_s=7), grpc.StatusCode.RESOURCE_EXHAUSTED, 7.0),
        (DeadlineExceeded("Too late."), grpc.StatusCode.DEADLINE_EXCEEDED, None),
        (Cancelled("Stopped."), grpc.StatusCode.CANCELLED, None),
        (InvalidRequest("Twice.", param="x-request-id"), grpc.StatusCode.INVALID_ARGUMENT, None),
    ],
)
@pytest.mark.parametrize("when", ["error", "late_error"])
async def test_errors_arrive_with_status_reason_and_retry_delay(bench, when, error, code, retry_s):
    setattr(bench.generate, when, error)
    async with bench.stub() as stub:
        refusal = await refused(stub.Generate(pb.GenerateRequest(prompt="x")))
    assert refusal.code is code
    assert refusal.message == error.message
    assert refusal.reason == error.code
    assert refusal.details["ErrorInfo"].domain == "mintmark"
    assert refusal.details["RequestInfo"].request_id == refusal.request_id
    assert refusal.field == error.param
    if retry_s is None:
        assert "RetryInfo" not in refusal.details
    else:
        assert refusal.details["RetryInfo"].retry_delay.ToMilliseconds() == retry_s * 1000


@pytest.mark.parametrize("error", [RuntimeError("secret path"), SigningFailed("secret path")])
async def test_a_defect_shows_its_request_id_and_nothing_else(bench, caplog, error):
    bench.generate.late_error = error
    async with bench.stub() as stub:
        refusal = await refused(stub.Generate(pb.GenerateRequest(prompt="x")))
    assert refusal.code is grpc.StatusCode.INTERNAL
    assert "secret" not in refusal.message
    assert refusal.request_id
    assert refusal.request_id in refusal.message
    (record,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert record.exc_info
    assert record.exc_info[1] is error


async def test_a_client_that_cancels_stops_the_work(bench):
    bench.generate.hold = asyncio.Event()
    async with bench.stub() as stub:
        call = stub.Generate(pb.GenerateRequest(prompt="x"), metadata=(("x-request-id", "leaver"),))
        await call.read()
        call.cancel()
        await wait_until(lambda: bench.generate.cancelled == ["leaver"])
    count = f'mintmark_rpc_calls_total{{code="CANCELLED",method="{GENERATE}"}}'
    await wait_until(lambda: bench.metric(count) == 1)
    assert bench.metric("mintmark_rpc_calls_in_flight") == 0


async def test_a_client_that_hangs_up_stops_the_work(bench):
    bench.generate.hold = asyncio.Event()
    async with bench.channel() as channel:
        call = channel.unary_stream(GENERATE)(pb.GenerateRequest(prompt="x").SerializeToString())
        await call.read()
    await wait_until(lambda: len(bench.generate.cancelled) == 1)


async def test_the_clients_deadline_is_the_requests_and_stops_it(bench):
    bench.generate.hold = asyncio.Event()
    async with bench.stub() as stub:
        refusal = await refused(stub.Generate(pb.GenerateRequest(prompt="x"), timeout=0.3))
        assert refusal.code is grpc.StatusCode.DEADLINE_EXCEEDED
        await wait_until(lambda: len(bench.generate.cancelled) == 1)
    # gRPC shows the handler a cancellation; it is counted as what it was.
    count = f'mintmark_rpc_calls_total{{code="DEADLINE_EXCEEDED",method="{GENERATE}"}}'
    await wait_until(lambda: bench.metric(count) == 1)


async def test_the_servers_limit_caps_the_clients_deadline(bench):
    import time

    async with bench.stub() as stub:
        for timeout_s in (5, 3600, None):
            await events_of(stub.Generate(pb.GenerateRequest(prompt="x"), timeout=timeout_s))
    now_s = time.monotonic()
    left_s = [deadline.remaining_s(now_s) for deadline in bench.generate.deadlines]
    assert 3 < left_s[0] <= 5.1  # gRPC rounds deadlines up, by some milliseconds
    assert 28 < left_s[1] <= 30
    assert 28 < left_s[2] <= 30


async def test_before_the_model_has_loaded_calls_are_refused_and_counted(bench):
    bench.is_loaded = False
    async with bench.stub() as stub:
        refusal = await refused(stub.Generate(pb.GenerateRequest(prompt="x")))
        listing = await refused(stub.ListModels(pb.ListModelsRequest()))
    assert refusal.code is listing.code is grpc.StatusCode.UNAVAILABLE
    assert refusal.reason == "model_not_ready"
    assert refusal.details["RetryInfo"].retry_delay.ToSeconds() == 5
    assert bench.metric('mintmark_admission_refusals_total{reason="model_not_ready"}') == 1


async def test_an_edit_starts_from_the_picture_and_its_mask(bench):
    request = pb.EditRequest(
        prompt="a blue door", image=[png(64, 64)], mask=mask_png(64, 64), strength=0.5, n=2
    )
    async with bench.stub() as stub:
        events = await events_of(stub.Edit(request))
    assert [kind for kind, _ in events] == [
        "accepted",
        "progress",
        "image",
        "progress",
        "image",
        "done",
    ]
    source = bench.generate.requests[0].source
    assert source is not None
    assert source.pixels.shape == (64, 64, 3)
    assert source.strength == 0.5
    assert source.originals[0].content == request.image[0]
    assert source.originals[0].mime_type == "image/png"
    assert source.mask is not None
    assert source.mask[:, :32].min() == 255  # transparent: drawn anew
    assert source.mask[:, 32:].max() == 0


@pytest.mark.parametrize(
    ("field", "code", "changes"),
    [
        ("image", grpc.StatusCode.INVALID_ARGUMENT, {"image": []}),
        ("image", grpc.StatusCode.INVALID_ARGUMENT, {"image": [b""]}),
        ("image", grpc.StatusCode.INVALID_ARGUMENT, {"image": [png(), png()]}),
        ("image", grpc.StatusCode.INVALID_ARGUMENT, {"image": [b"GIF89a"]}),
        ("image", grpc.StatusCode.INVALID_ARGUMENT, {"image": [png()[:80]]}),
        ("mask", grpc.StatusCode.INVALID_ARGUMENT, {"mask": b""}),
        ("mask", grpc.StatusCode.INVALID_ARGUMENT, {"mask": mask_png()[:80]}),
        ("mask", grpc.StatusCode.INVALID_ARGUMENT, {"mask": png()}),
        ("mask", grpc.StatusCode.INVALID_ARGUMENT, {"mask": mask_png(32, 64)}),
        ("mask", grpc.StatusCode.RESOURCE_EXHAUSTED, {"mask": b"x" * 5000}),
        ("image", grpc.StatusCode.RESOURCE_EXHAUSTED, {"image": [b"x" * 5000]}),
        ("image", grpc.StatusCode.RESOURCE_EXHAUSTED, {"image": [png(96, 96)]}),
        ("mask", grpc.StatusCode.RESOURCE_EXHAUSTED, {"mask": mask_png(96, 96)}),
        ("strength", grpc.StatusCode.INVALID_ARGUMENT, {"strength": 0.0}),
        ("strength", grpc.StatusCode.INVALID_ARGUMENT, {"strength": 1.5}),
        ("strength", grpc.StatusCode.INVALID_ARGUMENT, {"strength": float("nan")}),
        ("prompt", grpc.StatusCode.INVALID_ARGUMENT, {"prompt": ""}),
    ],
)
async def test_a_bad_edit_is_refused_by_name(field, code, changes):
    said = {"prompt": "x", "image": [png()]} | changes
    limits = LimitsOptions(max_upload_bytes=4000, max_upload_pixels=4096)
    async with rpc_bench(limits=limits) as bench, bench.stub() as stub:
        refusal = await refused(stub.Edit(pb.EditRequest(**said)))
    assert (refusal.code, refusal.field) == (code, field)
    assert bench.generate.requests == []


async def test_a_picture_is_verified_in_the_pool(bench):
    async with bench.stub() as stub:
        report = await stub.Verify(pb.VerifyRequest(image=b"picture"))
    assert report.verdict == pb.VERDICT_NO_EVIDENCE
    assert report.confidence == pb.CONFIDENCE_NONE
    assert report.c2pa.state == pb.CREDENTIAL_STATE_ABSENT
    assert not report.c2pa.HasField("issuer")
    assert not report.c2pa.HasField("generation")
    assert report.watermark.check == "not_found"
    assert bench.verifier.contents == [b"picture"]
    assert bench.verifier.thread_names[0].startswith("verify")
    assert bench.metric('mintmark_verifications_total{verdict="no_evidence"}') == 1


async def test_nothing_is_no_picture(bench):
    async with bench.stub() as stub:
        refusal = await refused(stub.Verify(pb.VerifyRequest()))
    assert (refusal.code, refusal.field) == (grpc.StatusCode.INVALID_ARGUMENT, "image")


async def test_verifications_are_bounded(bench):
    bench.verifier.may_finish.clear()
    async with bench.stub() as stub:
        waiting = [stub.Verify(pb.VerifyRequest(image=b"x")) for _ in range(2)]
        await wait_until(lambda: len(bench.verifier.contents) == 2)
        refusal = await refused(stub.Verify(pb.VerifyRequest(image=b"x")))
        bench.verifier.may_finish.set()
        await asyncio.gather(*waiting)
        await stub.Verify(pb.VerifyRequest(image=b"x"))
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
    assert refusal.reason == "queue_full"


async def test_a_message_over_the_limit_is_refused_before_anything_is_read():
    limits = LimitsOptions(max_upload_bytes=4096, max_body_bytes=1024)
    async with rpc_bench(limits=limits) as bench, bench.stub() as stub:
        refusal = await refused(stub.Verify(pb.VerifyRequest(image=b"x" * 200_000)))
        assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert bench.verifier.contents == []
        await stub.Verify(pb.VerifyRequest(image=b"x"))


async def test_models_are_listed_the_default_one_first(bench):
    import dataclasses

    bench.models["a-first"] = dataclasses.replace(
        toy_spec(), model_id="a-first", card={"n": 1, "nested": {"list": [True, None, "x"]}}
    )
    async with bench.stub() as stub:
        answer = await stub.ListModels(pb.ListModelsRequest())
    assert [model.id for model in answer.models] == ["toy", "a-first"]
    assert [model.is_default for model in answer.models] == [True, False]
    toy = answer.models[0]
    assert toy.revision == toy_spec().revision
    assert (toy.default_size.width_px, toy.default_size.height_px) == (64, 64)
    assert list(toy.schedulers) == list(toy_spec().schedulers)
    assert toy.limits.max_images_per_request == bench.limits.max_images_per_request
    assert answer.models[1].card["nested"]["list"][2] == "x"


async def test_a_request_is_cancelled_by_its_id(bench):
    bench.generate.hold = asyncio.Event()
    async with bench.stub() as stub:
        call = stub.Generate(pb.GenerateRequest(prompt="x"), metadata=(("x-request-id", "run"),))
        await call.read()
        assert (await stub.Cancel(pb.CancelRequest(request_id="run"))).cancelled
        assert not (await stub.Cancel(pb.CancelRequest(request_id="run"))).cancelled
        unknown = await refused(stub.Cancel(pb.CancelRequest(request_id="other")))
        empty = await refused(stub.Cancel(pb.CancelRequest()))
        call.cancel()
    assert unknown.code is grpc.StatusCode.NOT_FOUND
    assert (empty.code, empty.field) == (grpc.StatusCode.INVALID_ARGUMENT, "request_id")
