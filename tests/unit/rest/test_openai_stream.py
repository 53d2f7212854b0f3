"""`stream`: OpenAI's events, with usage, errors and provenance where they belong."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest

from service.errors import DeadlineExceeded, DeviceLost, QueueFull
from service.rest.openapi_answers import Error, ImageCompletedEvent, ImagePartialEvent
from tests.pictures import png
from tests.rest_kit import EDITS, IMAGES

SECRET = "secret path"


def events_of(response):
    """Return (event name, data) of each event of a whole stream."""
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = [block for block in response.text.split("\n\n") if block and block[0] != ":"]
    pairs = [block.split("\n") for block in blocks]
    return [
        (name.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
        for name, data in pairs
    ]


async def stream(bench, **fields):
    async with bench.client() as client:
        body = {"prompt": "x", "stream": True, **fields}
        return await client.post(IMAGES, json=body)


async def test_previews_come_before_their_picture(bench):
    bench.generate.warnings = ("not drawn: 'zeppelin'",)
    response = await stream(bench, partial_images=2, n=2, seed=5, output_format="webp", user="u")
    assert response.status_code == 200
    events = events_of(response)
    assert [
        (name, data["image_index"], data.get("partial_image_index")) for name, data in events
    ] == [
        ("image_generation.partial_image", 0, 0),
        ("image_generation.partial_image", 0, 1),
        ("image_generation.completed", 0, None),
        ("image_generation.partial_image", 1, 0),
        ("image_generation.partial_image", 1, 1),
        ("image_generation.completed", 1, None),
    ]
    for name, data in events:
        assert data["type"] == name
        assert base64.b64decode(data["b64_json"]) == bench.generate.content
        assert data["request_id"] == response.headers["x-request-id"]
        assert (data["size"], data["quality"], data["background"]) == ("64x64", "medium", "opaque")
        assert data["output_format"] == "webp"
        assert data["safety_identifier"] == "u"
        assert data["seed"] == 5 + data["image_index"]
        model = ImageCompletedEvent if name.endswith("completed") else ImagePartialEvent
        model.model_validate(data)
    assert [data.get("warnings") for _, data in events] == [None] * 5 + [["not drawn: 'zeppelin'"]]


@pytest.mark.parametrize("num_images", [1, 3])
async def test_the_usage_of_the_pictures_adds_up_to_that_of_the_request(bench, num_images):
    async with bench.client() as client:
        whole = (await client.post(IMAGES, json={"prompt": "x", "n": num_images})).json()["usage"]
    parts = [data["usage"] for _, data in events_of(await stream(bench, n=num_images))]
    assert len(parts) == num_images
    for key in ("input_tokens", "output_tokens", "total_tokens"):
        assert sum(part[key] for part in parts) == whole[key]


async def test_without_previews_there_is_one_event(bench):
    ((name, data),) = events_of(await stream(bench))
    assert name == "image_generation.completed"
    assert data["usage"]["total_tokens"] == 259


async def test_an_edit_has_events_of_its_own(bench):
    async with bench.client() as client:
        response = await client.post(
            EDITS,
            files={"image": ("a.png", png())},
            data={"prompt": "x", "stream": "true", "partial_images": "1"},
        )
    (preview, _), (completed, data) = events_of(response)
    assert preview == "image_edit.partial_image"
    assert completed == "image_edit.completed"
    assert data["usage"]["input_tokens_details"] == {"text_tokens": 3, "image_tokens": 256}


async def test_what_is_not_let_in_is_an_ordinary_error(bench):
    bench.generate.error = QueueFull("Full.", retry_after_s=2.0)
    response = await stream(bench)
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/json"
    assert response.headers["retry-after-ms"] == "2000"


async def test_an_error_after_the_beginning_is_the_last_event(bench):
    bench.generate.late_error = DeadlineExceeded("Too late.")
    response = await stream(bench, partial_images=1)
    assert response.status_code == 200
    (preview, _), (name, data) = events_of(response)
    assert preview == "image_generation.partial_image"
    assert name == "error"
    Error.model_validate(data)
    assert data["error"] == {
        "message": "Too late.",
        "type": "timeout_error",
        "param": None,
        "code": "deadline_exceeded",
    }


@pytest.mark.parametrize("error", [DeviceLost(SECRET), RuntimeError(SECRET)])
async def test_a_defect_within_a_stream_stays_ours(bench, error, caplog):
    bench.generate.late_error = error
    response = await stream(bench)
    ((name, data),) = events_of(response)
    assert name == "error"
    assert response.headers["x-request-id"] in data["error"]["message"]
    assert SECRET not in response.text
    assert SECRET in caplog.text  # it is in the log


async def test_the_client_leaving_cancels_the_work(bench):
    bench.generate.hold = asyncio.Event()
    body = [json.dumps({"prompt": "x", "stream": True}).encode()]
    has_left, sent = asyncio.Event(), []

    async def receive():
        if body:
            return {"type": "http.request", "body": body.pop(), "more_body": False}
        await has_left.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": IMAGES,
        "headers": [(b"content-type", b"application/json"), (b"x-request-id", b"mine")],
        "query_string": b"",
    }
    serving = asyncio.create_task(bench.app()(scope, receive, send))
    while not sent:
        await asyncio.sleep(0)
    assert (b"x-request-id", b"mine") in sent[0]["headers"]  # before any event
    has_left.set()
    await asyncio.wait_for(serving, 5)
    assert bench.generate.cancelled == ["mine"]
    assert bench.metric("mintmark_http_requests_in_flight") == 0
