"""The official `openai` package beside keys, limits and retries: its errors, and its attempts."""

from __future__ import annotations

import asyncio
import io

import httpx2
import openai
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.access.caller import Scope
from service.errors import DeviceOutOfMemory, QueueFull, SigningFailed, WatermarkFailed
from service.rest.multipart import FormLimits, open_form
from tests.access_kit import APP_KEY, VERIFY_KEY, keyed_access, make_entry
from tests.rest_kit import rest_bench


@pytest.fixture
def bench():
    with rest_bench() as made:
        yield made


def openai_client(app, key=APP_KEY, max_retries=2):
    transport = httpx2.ASGITransport(app=app)
    return openai.AsyncOpenAI(
        api_key=key,
        base_url="http://mintmark.test/v1",
        max_retries=max_retries,
        http_client=httpx2.AsyncClient(transport=transport),
    )


class Attempts:
    """Counts how often the app was called, and can lose the first answers on their way."""

    def __init__(self, app, lost_answers=0):
        self.app = app
        self.lost_answers = lost_answers
        self.count = 0
        self.headers: list[dict[bytes, bytes]] = []

    async def __call__(self, scope, receive, send):
        self.count += 1
        self.headers.append(dict(scope["headers"]))
        if self.count > self.lost_answers:
            await self.app(scope, receive, send)
            return
        answered = []

        async def swallow(message):
            answered.append(message)

        await self.app(scope, receive, swallow)
        raise httpx2.ReadError("lost on the way")


async def test_a_wrong_key_and_a_missing_scope_are_the_clients_own_errors(bench):
    bench.access = keyed_access(make_entry(), make_entry(VERIFY_KEY, "checker", Scope.VERIFY))
    attempts = Attempts(bench.app())
    async with openai_client(attempts, "mm_" + "x" * 43) as client:
        with pytest.raises(openai.AuthenticationError) as unknown:
            await client.images.generate(prompt="x")
    async with openai_client(attempts, VERIFY_KEY) as client:
        with pytest.raises(openai.PermissionDeniedError) as forbidden:
            await client.images.generate(prompt="x")
    async with openai_client(attempts) as client:
        assert (await client.images.generate(prompt="x")).data
    assert unknown.value.code == "unauthenticated"
    assert forbidden.value.code == "forbidden"
    assert attempts.count == 3  # neither was repeated


async def test_a_rate_limit_is_repeated_after_the_time_that_was_told(bench):
    bench.access = keyed_access(make_entry(concurrent_requests=1))
    bench.generate.hold = asyncio.Event()
    bench.estimate_s = 0.2
    attempts = Attempts(bench.app())
    async with openai_client(attempts) as client:
        first = asyncio.create_task(client.images.generate(prompt="x"))
        await bench.generate.started.wait()
        second = asyncio.create_task(client.images.generate(prompt="y"))
        while attempts.count < 2:
            await asyncio.sleep(0.01)
        bench.generate.hold.set()
        assert (await first).data
        assert (await second).data
    assert attempts.count == 3
    assert attempts.headers[2][b"x-stainless-retry-count"] == b"1"


async def test_a_limit_that_stays_is_the_clients_own_error(bench):
    bench.access = keyed_access(make_entry(requests_per_minute=1))
    async with openai_client(bench.app(), max_retries=0) as client:
        await client.images.generate(prompt="x")
        with pytest.raises(openai.RateLimitError) as limited:
            await client.images.generate(prompt="x")
    assert limited.value.code == "rate_limited"
    assert int(limited.value.response.headers["retry-after"]) > 50


@pytest.mark.parametrize(
    ("error", "attempts_wanted"),
    [
        (QueueFull("Full.", retry_after_s=0.001), 3),
        (DeviceOutOfMemory("Full.", retry_after_s=0.001), 3),
        (WatermarkFailed("no"), 1),
        (SigningFailed("no"), 1),
    ],
)
async def test_only_what_may_succeed_later_is_repeated(bench, error, attempts_wanted):
    bench.generate.error = error
    attempts = Attempts(bench.app())
    async with openai_client(attempts) as client:
        with pytest.raises(openai.InternalServerError):
            await client.images.generate(prompt="x")
    assert attempts.count == attempts_wanted


async def test_a_lost_answer_is_not_paid_for_twice(bench):
    attempts = Attempts(bench.app(), lost_answers=1)
    async with openai_client(attempts) as client:
        answer = await client.images.generate(
            prompt="x", extra_headers={"Idempotency-Key": "order-17"}
        )
    assert answer.data
    assert attempts.count == 2
    assert len(bench.generate.requests) == 1


async def test_a_conflict_is_not_repeated(bench):
    attempts = Attempts(bench.app())
    headers = {"Idempotency-Key": "order-17"}
    async with openai_client(attempts) as client:
        await client.images.generate(prompt="x", extra_headers=headers)
        with pytest.raises(openai.ConflictError) as conflict:
            await client.images.generate(prompt="y", extra_headers=headers)
    assert conflict.value.code == "idempotency_conflict"
    assert attempts.count == 2


class FormEcho:
    """Answers what it read of a form, as an images answer that the client accepts."""

    async def __call__(self, scope, receive, send):
        limits = FormLimits(1 << 20, 1 << 20)
        async with open_form(Request(scope, receive), limits) as form:
            files = {
                name: [(file.filename, (await file.read()).decode()) for file in several]
                for name, several in form.files.items()
            }
            answer: Response = JSONResponse(
                {"created": 1, "data": [], "fields": form.fields, "files": files}
            )
        await answer(scope, receive, send)


def picture(name, content):
    stream = io.BytesIO(content)
    stream.name = name
    return stream


async def test_the_clients_own_forms_are_read():
    async with openai_client(FormEcho()) as client:
        one = await client.images.edit(image=picture("a.png", b"A"), prompt="ä", n=2)
        several = await client.images.edit(
            image=[picture("a.png", b"A"), picture("b.png", b"B")],
            mask=picture("m.png", b"M"),
            prompt="x",
            extra_body={"strength": 0.5, "lora": {"name": "s", "scale": 1}},
        )
    assert one.model_extra == {
        "fields": {"prompt": "ä", "n": "2"},
        "files": {"image": [["a.png", "A"]]},
    }
    assert several.model_extra == {
        "fields": {"prompt": "x", "strength": "0.5", "lora": {"name": "s", "scale": "1"}},
        "files": {"image": [["a.png", "A"], ["b.png", "B"]], "mask": [["m.png", "M"]]},
    }
