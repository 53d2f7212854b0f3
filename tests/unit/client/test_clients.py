"""Both clients against a real server over fakes: what they return, raise, and stop."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest

from service.client import (
    AccessDenied,
    AsyncMintmarkClient,
    Cancelled,
    DeadlineExceeded,
    EditOptions,
    FinishedImage,
    GenerateOptions,
    InvalidArgument,
    LimitExceeded,
    MintmarkClient,
    NotFound,
    Preview,
    Progress,
    ServerError,
    Tls,
    Unavailable,
)
from service.client.results import to_event
from service.domain.result import RequestEnergy
from service.errors import Cancelled as CancelledThere
from service.errors import (
    DeadlineExceeded as DeadlineExceededThere,
)
from service.errors import (
    Forbidden,
    QueueFull,
    RateLimited,
    SigningFailed,
    Unauthenticated,
)
from service.rpc.generated.mintmark.v1 import image_generation_pb2 as pb
from tests.rpc_kit import mask_png, png, rpc_bench
from tests.tls_kit import make_pair, mount


class InThread:
    """The blocking client as the tests of the other one call it: each call in a thread."""

    def __init__(self, client: MintmarkClient) -> None:
        self._client = client

    def __getattr__(self, name: str):
        method = getattr(self._client, name)

        async def call(*args, **kwargs):
            return await asyncio.to_thread(method, *args, **kwargs)

        return call

    async def events(self, *args, **kwargs):
        return await asyncio.to_thread(lambda: list(self._client.stream(*args, **kwargs)))


class Awaited(AsyncMintmarkClient):
    async def events(self, *args, **kwargs):
        return [event async for event in self.stream(*args, **kwargs)]


@asynccontextmanager
async def open_client(kind: str, target: str, **kwargs):
    if kind == "async":
        async with Awaited(target, **kwargs) as client:
            yield client
    else:
        with MintmarkClient(target, **kwargs) as client:
            yield InThread(client)


@pytest.fixture
async def bench():
    async with rpc_bench() as made:
        yield made


@pytest.fixture(params=["async", "blocking"])
async def client(request, bench):
    async with open_client(request.param, bench.target) as made:
        yield made


async def test_generate_returns_every_picture(bench, client):
    bench.generate.warnings = ("No zeppelins.",)
    options = GenerateOptions(n=3, seed=5, size_px=(96, 64), output_format="webp", scheduler="ddim")
    generated = await client.generate("a red apple", options, request_id="mine")
    assert generated.request_id == "mine"
    assert generated.model == "toy"
    assert generated.warnings == ("No zeppelins.",)
    assert [picture.seed for picture in generated.pictures] == [5, 6, 7]
    picture = generated.pictures[0]
    assert picture.content == bench.generate.content
    assert picture.mime_type == "image/webp"
    assert (picture.width_px, picture.height_px) == (96, 64)
    assert picture.created_at.isoformat() == "2026-01-02T03:04:05+00:00"
    assert generated.created_at == picture.created_at


async def test_what_is_not_said_stays_unsaid(bench, client):
    await client.generate("x")
    await client.generate("x", GenerateOptions(guidance_scale=0))
    silent, said = bench.generate.requests
    assert silent.sampling.guidance_scale == bench.models["toy"].defaults.guidance_scale
    assert said.sampling.guidance_scale == 0


async def test_what_the_pictures_took_is_told_where_it_is_counted(bench, client):
    assert (await client.generate("x")).joules is None
    bench.generate.energy = RequestEnergy(joules=5.0, sources=("nvml:0",))
    assert (await client.generate("x")).joules == 5.0


async def test_a_stream_shows_events_as_they_come(client):
    events = await client.events("x", GenerateOptions(partial_images=2))
    assert events[0].estimated_wait_s == 0.5
    assert events[1] == Progress(2, 2)
    assert isinstance(events[2], Preview)
    assert isinstance(events[4], FinishedImage)
    assert events[5].prompt_tokens == 3


async def test_edit_sends_picture_mask_and_strength(bench, client):
    options = EditOptions(mask=mask_png(), strength=0.25, seed=1)
    generated = await client.edit("a door", png(), options)
    source = bench.generate.requests[0].source
    assert source is not None
    assert source.strength == 0.25
    assert source.mask is not None
    assert len(generated.pictures) == 1


async def test_verify_lists_and_cancels(bench, client):
    report = await client.verify(b"picture")
    assert (report.verdict, report.confidence) == ("no_evidence", "none")
    assert report.message.watermark.check == "not_found"
    (model,) = await client.list_models()
    assert (model.id, model.is_default) == ("toy", True)
    assert model.sizes_px == ((64, 64), (96, 64))
    assert model.message.limits.max_images_per_request == 10
    await client.generate("x", request_id="known")
    assert await client.cancel("known") is True
    assert await client.cancel("known") is False


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (Unauthenticated("No key."), AccessDenied, "unauthenticated"),
        (Forbidden("No scope."), AccessDenied, "forbidden"),
        (RateLimited("Slow.", retry_after_s=3.5), LimitExceeded, "rate_limited"),
        (QueueFull("Full.", retry_after_s=2.0), Unavailable, "queue_full"),
        (DeadlineExceededThere("Late."), DeadlineExceeded, "deadline_exceeded"),
        (CancelledThere("Stopped."), Cancelled, "cancelled"),
        (SigningFailed("secret"), ServerError, "signing_failed"),
        (RuntimeError("secret"), ServerError, "internal_error"),
    ],
)
async def test_errors_are_typed_and_say_what_the_server_said(bench, client, error, kind, code):
    bench.generate.late_error = error
    with pytest.raises(kind) as raised:
        await client.generate("x", request_id="mine")
    assert raised.value.code == code
    assert raised.value.request_id == "mine"
    assert raised.value.retry_after_s == getattr(error, "retry_after_s", None)
    assert "secret" not in str(raised.value)


async def test_errors_name_the_field(client):
    with pytest.raises(InvalidArgument) as refused:
        await client.generate("x", GenerateOptions(n=99))
    assert refused.value.param == "n"
    assert refused.value.status is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(NotFound) as missing:
        await client.generate("x", GenerateOptions(model="nope"))
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(InvalidArgument) as empty:
        await client.verify(b"")
    assert empty.value.param == "image"


async def test_a_deadline_ends_the_call_on_both_sides(bench, client):
    bench.generate.hold = asyncio.Event()
    with pytest.raises(DeadlineExceeded) as late:
        await client.generate("x", deadline_s=0.3, request_id="late")
    assert late.value.request_id == "late"
    async with asyncio.timeout(5):
        while bench.generate.cancelled != ["late"]:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("kind", ["async", "blocking"])
async def test_nobody_there_is_unavailable_without_a_code(kind, unused_tcp_port):
    async with open_client(kind, f"127.0.0.1:{unused_tcp_port}") as client:
        with pytest.raises(Unavailable) as nobody:
            await client.list_models(deadline_s=10)
    assert nobody.value.code == ""
    assert nobody.value.request_id is None


async def test_a_stream_that_is_left_early_stops_the_work(bench):
    bench.generate.hold = asyncio.Event()
    async with AsyncMintmarkClient(bench.target) as client:
        events = client.stream("x", request_id="left")
        await anext(events)
        await events.aclose()
        async with asyncio.timeout(5):
            while bench.generate.cancelled != ["left"]:
                await asyncio.sleep(0.01)


async def test_a_blocking_stream_that_is_left_early_stops_the_work(bench):
    bench.generate.hold = asyncio.Event()

    def peek(client: MintmarkClient) -> None:
        for _ in client.stream("x", request_id="left"):
            break

    with MintmarkClient(bench.target) as client:
        await asyncio.to_thread(peek, client)
        async with asyncio.timeout(5):
            while bench.generate.cancelled != ["left"]:
                await asyncio.sleep(0.01)


async def test_a_cancelled_task_stops_the_work(bench):
    bench.generate.hold = asyncio.Event()
    async with AsyncMintmarkClient(bench.target) as client:
        task = asyncio.create_task(client.generate("x", request_id="task"))
        await bench.generate.started.wait()
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            while bench.generate.cancelled != ["task"]:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("kind", ["async", "blocking"])
async def test_both_clients_speak_tls_with_their_own_certificate(kind, tmp_path):
    server, client_pair = make_pair(), make_pair()
    roots = tmp_path / "clients.pem"
    roots.write_bytes(client_pair.certificate)
    options = mount(tmp_path, server, client_ca_path=roots, require_client_certificate=True)
    tls = Tls(server.certificate, client_pair.key, client_pair.certificate, "localhost")
    async with (
        rpc_bench(options=options) as bench,
        open_client(kind, bench.target, tls=tls) as client,
    ):
        assert len(await client.list_models()) == 1


class Keyed(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Lets calls through that carry the one key."""

    async def intercept_service(self, continuation, handler_call_details):
        if ("authorization", "Bearer secret") not in handler_call_details.invocation_metadata:
            raise Unauthenticated("No key.")
        return await continuation(handler_call_details)


@pytest.mark.parametrize("kind", ["async", "blocking"])
async def test_the_api_key_goes_with_every_call(kind):
    async with rpc_bench(interceptors=(Keyed(),)) as bench:
        async with open_client(kind, bench.target, api_key="secret") as client:
            await client.list_models()
            await client.generate("x")
        async with open_client(kind, bench.target) as client:
            with pytest.raises(AccessDenied):
                await client.list_models()


def test_an_event_of_a_later_version_is_passed_over():
    assert to_event(pb.GenerateResponse.FromString(b"\xf2\x3f\x00")) is None
