"""A request that is made again is carried out once."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from service.access.control import open_access
from service.access.options import AccessOptions
from service.errors import QueueFull, WatermarkFailed
from service.rest.answers import Answer, AnswerStore
from service.rest.fingerprint import fingerprint
from service.rest.idempotency import Idempotency, IdempotentRequests
from tests.access_kit import APP_KEY, OTHER_KEY, bearer, keyed_access, make_entry
from tests.factories import FakeClock
from tests.fakes import FakeGeneration
from tests.oip_kit import INFER, PROMPT, binary_request, raw_tensor
from tests.rest_kit import IMAGES

BODY = {"prompt": "x", "seed": 1}
KEY = {"Idempotency-Key": "key-1"}
REPLAYED = "idempotent-replayed"


@pytest.fixture
def keyed(bench):
    bench.access = keyed_access()
    return bench


async def test_the_finished_answer_is_sent_again_byte_by_byte(bench):
    async with bench.client() as client:
        first = await client.post(IMAGES, json={"prompt": "x"}, headers=KEY)
        second = await client.post(IMAGES, json={"prompt": "x"}, headers=KEY)
    assert first.status_code == second.status_code == 200
    assert first.content == second.content  # the drawn seed included
    assert REPLAYED not in first.headers
    assert second.headers[REPLAYED] == "true"
    assert second.headers["content-type"] == first.headers["content-type"]
    assert second.headers["x-request-id"] != first.headers["x-request-id"]
    assert len(bench.generate.requests) == 1
    count = f'mintmark_http_requests_total{{method="POST",route="{IMAGES}",status="200"}}'
    assert bench.metric(count) == 2


async def test_the_order_of_members_and_spaces_do_not_matter(bench):
    headers = {**KEY, "content-type": "application/json"}
    async with bench.client() as client:
        await client.post(IMAGES, content=b'{"prompt": "x", "n": 1}', headers=headers)
        again = await client.post(IMAGES, content=b'{"n":1,"prompt":"x"}', headers=headers)
    assert again.headers[REPLAYED] == "true"


async def test_another_request_under_the_same_key_is_a_conflict(bench):
    async with bench.client() as client:
        await client.post(IMAGES, json=BODY, headers=KEY)
        other = await client.post(IMAGES, json={**BODY, "seed": 2}, headers=KEY)
    assert other.status_code == 409
    assert other.json()["error"]["code"] == "idempotency_conflict"
    assert other.json()["error"]["param"] == "idempotency-key"
    assert other.headers["x-should-retry"] == "false"
    assert len(bench.generate.requests) == 1


async def test_without_the_header_everything_is_carried_out(bench):
    async with bench.client() as client:
        for _ in range(2):
            assert REPLAYED not in (await client.post(IMAGES, json=BODY)).headers
    assert len(bench.generate.requests) == 2


async def test_keys_belong_to_their_caller(keyed):
    async with keyed.client() as client:
        for key in (APP_KEY, OTHER_KEY):
            answer = await client.post(IMAGES, json=BODY, headers={**KEY, **bearer(key)})
            assert REPLAYED not in answer.headers
        conflict = await client.post(
            IMAGES, json={"prompt": "y"}, headers={**KEY, **bearer(APP_KEY)}
        )
    assert conflict.status_code == 409
    assert len(keyed.generate.requests) == 2


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "é", "a\x7f", "a\t"])
async def test_a_bad_key_is_refused(bench, key):
    headers = [(b"Idempotency-Key", key.encode())]
    async with bench.client() as client:
        response = await client.post(IMAGES, json=BODY, headers=headers)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "idempotency-key"


async def test_two_keys_are_refused(bench):
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    async with bench.client() as client:
        assert (await client.post(IMAGES, json=BODY, headers=headers)).status_code == 400


@pytest.mark.parametrize("error", [QueueFull("Full."), WatermarkFailed("no"), RuntimeError("x")])
async def test_a_failure_is_not_kept(bench, error):
    bench.generate.error = error
    async with bench.client() as client:
        failed = await client.post(IMAGES, json=BODY, headers=KEY)
        bench.generate.error = None
        retried = await client.post(IMAGES, json=BODY, headers=KEY)
    assert failed.status_code >= 500
    assert retried.status_code == 200
    assert REPLAYED not in retried.headers


async def test_a_refused_request_frees_its_key_for_a_better_one(bench):
    async with bench.client() as client:
        refused = await client.post(IMAGES, json={**BODY, "n": 0}, headers=KEY)
        better = await client.post(IMAGES, json=BODY, headers=KEY)
    assert (refused.status_code, better.status_code) == (400, 200)


async def test_a_stream_cannot_be_repeated(bench):
    async with bench.client() as client:
        response = await client.post(IMAGES, json={**BODY, "stream": True}, headers=KEY)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "idempotency-key"
    assert bench.generate.requests == []


async def started(bench, client, headers=KEY):
    """Return a request that is being carried out."""
    bench.generate.hold = asyncio.Event()
    call = asyncio.create_task(client.post(IMAGES, json=BODY, headers=headers))
    await bench.generate.started.wait()
    return call


async def turns(count=20):
    for _ in range(count):
        await asyncio.sleep(0.002)


async def test_a_running_request_is_joined(bench):
    async with bench.client() as client:
        first = await started(bench, client)
        second = asyncio.create_task(client.post(IMAGES, json=BODY, headers=KEY))
        conflict = await client.post(IMAGES, json={"prompt": "y"}, headers=KEY)
        await turns()
        bench.generate.hold.set()
        answers = [await first, await second]
    assert conflict.status_code == 409
    assert answers[0].content == answers[1].content
    assert [REPLAYED in answer.headers for answer in answers] == [False, True]
    assert len(bench.generate.requests) == 1


@pytest.mark.parametrize("leaver", [0, 1])
async def test_one_who_leaves_does_not_stop_the_other(bench, leaver):
    async with bench.client() as client:
        calls = [await started(bench, client)]
        calls.append(asyncio.create_task(client.post(IMAGES, json=BODY, headers=KEY)))
        await turns()
        calls[leaver].cancel()
        await turns()
        assert bench.generate.cancelled == []
        bench.generate.hold.set()
        answer = await calls[1 - leaver]
    assert answer.status_code == 200
    assert len(bench.generate.requests) == 1


async def test_when_the_last_one_leaves_the_work_is_stopped_and_can_be_begun_again(bench):
    async with bench.client() as client:
        calls = [await started(bench, client)]
        calls.append(asyncio.create_task(client.post(IMAGES, json=BODY, headers=KEY)))
        await turns()
        for call in calls:
            call.cancel()
        await turns()
        assert len(bench.generate.cancelled) == 1
        bench.generate.hold = None
        again = await client.post(IMAGES, json=BODY, headers=KEY)
    assert again.status_code == 200
    assert REPLAYED not in again.headers


async def test_a_client_that_leaves_in_the_middle_of_its_body_begins_nothing(bench):
    messages = [
        {"type": "http.request", "body": b'{"prompt":', "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    headers = [(b"idempotency-key", b"k"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": IMAGES, "headers": headers}
    await bench.app()(scope, receive, send)
    assert sent[0]["status"] == 499
    assert bench.generate.requests == []


class FailsLate(FakeGeneration):
    """Fails once it is released."""

    async def __call__(self, request, *, request_id, deadline):
        await super().__call__(request, request_id=request_id, deadline=deadline)
        raise WatermarkFailed("no mark")


async def test_a_large_body_arrives_whole_behind_a_key():
    content = bytes(range(256)) * 12 * 1024  # 3 MiB: it waits in a file
    received = []

    async def app(scope, receive, send):
        pieces = []
        while True:
            message = await receive()
            pieces.append(message["body"])
            if not message["more_body"]:
                break
        received.append(b"".join(pieces))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    access = open_access()
    store = AnswerStore(10, 100_000, FakeClock())
    idempotent = Idempotency(app, IdempotentRequests(access, store))
    transport = httpx.ASGITransport(idempotent)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        for _ in range(2):
            assert (await client.post("/", content=content, headers=KEY)).text == "done"
    assert received == [content]


async def test_all_who_wait_are_told_of_a_failure(bench):
    bench.generate = FailsLate()
    async with bench.client() as client:
        first = await started(bench, client)
        second = asyncio.create_task(client.post(IMAGES, json=BODY, headers=KEY))
        await turns()
        bench.generate.hold.set()
        answers = [await first, await second]
    assert [answer.json()["error"]["code"] for answer in answers] == ["watermark_failed"] * 2
    assert len(bench.generate.requests) == 1


async def test_without_room_nothing_is_kept(bench):
    bench.access = keyed_access(make_entry(), options=AccessOptions(idempotency_max_bytes=0))
    async with bench.client() as client:
        for _ in range(2):
            answer = await client.post(IMAGES, json=BODY, headers={**KEY, **bearer(APP_KEY)})
            assert REPLAYED not in answer.headers
    assert len(bench.generate.requests) == 2


# --- the store ------------------------------------------------------------------------------------


def answer(size_bytes=0, status=200):
    return Answer({"type": "http.response.start", "status": status}, (b"x" * size_bytes,))


def test_an_answer_is_kept_for_its_time():
    clock = FakeClock()
    store = AnswerStore(10, 10_000, clock)
    store.keep("a", b"1", answer())
    clock.now_s += 9.9
    assert store.find("a")
    clock.now_s += 0.2
    assert store.find("a") is None
    assert store.size_bytes == 0


def test_the_least_recently_used_answers_make_room():
    store = AnswerStore(10, 3 * answer(1000).size_bytes, FakeClock())
    for key in "abc":
        store.keep(key, b"1", answer(1000))
    assert store.find("a")
    store.keep("d", b"1", answer(1000))
    assert [store.find(key) is not None for key in "abcd"] == [True, False, True, True]


def test_what_is_too_large_is_not_kept_and_drives_nothing_out():
    store = AnswerStore(10, 5000, FakeClock())
    store.keep("a", b"1", answer(1000))
    store.keep("b", b"1", answer(5000))
    assert store.find("a")
    assert store.find("b") is None


def test_forgotten_answers_take_no_memory_once_another_comes():
    clock = FakeClock()
    store = AnswerStore(10, 100_000, clock)
    for key in "abc":
        store.keep(key, b"1", answer(1000))
    clock.now_s += 11
    store.keep("d", b"1", answer(1000))
    assert store.size_bytes == answer(1000).size_bytes


# --- the fingerprint ------------------------------------------------------------------------------


def form(boundary, *parts):
    body = b""
    for headers, content in parts:
        body += b"--" + boundary + b"\r\nContent-Disposition: form-data; " + headers
        body += b"\r\n\r\n" + content + b"\r\n"
    kind = f"multipart/form-data; boundary={boundary.decode()}"
    body += b"--" + boundary + b"--\r\n"
    whole = fingerprint("/p", kind, [body])
    assert fingerprint("/p", kind, [body[:9], body[9:40], body[40:]]) == whole
    return whole


def test_the_boundary_of_a_form_does_not_matter_and_everything_else_does():
    parts = [(b'name="a"', b"1"), (b'name="b"; filename="f"', b"22")]
    same = form(b"one", *parts)
    assert form(b"two", *parts) == same
    for other in (
        parts[::-1],
        [(b'name="a"', b"12"), (b'name="b"; filename="f"', b"2")],
        [(b'name="a"', b"1"), (b'name="c"; filename="f"', b"22")],
        [(b'name="a"', b"1")],
    ):
        assert form(b"one", *other) != same


def test_a_form_may_ask_for_a_stream():
    assert form(b"B", (b'name="stream"', b"true")).wants_stream
    assert form(b"B", (b"name=stream", b" True")).wants_stream
    assert not form(b"B", (b'name="stream"', b"false")).wants_stream
    assert not form(b"B", (b'name="stream2"', b"true")).wants_stream


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{"),
        ("application/json", b"[1]"),
        ("multipart/form-data; boundary=B", b"no form"),
        ("multipart/form-data", b"x"),
        ("", b"\xff"),
        ("multipart/form-data; boundary=" + "b" * 5000, b"x"),
    ],
)
def test_what_cannot_be_read_is_compared_as_bytes(kind, body):
    assert fingerprint("/p", kind, [body]) == fingerprint("/p", kind, [body])
    assert fingerprint("/p", kind, [body]) != fingerprint("/p", kind, [body, b" "])


def test_json_too_long_to_be_read_is_compared_as_bytes():
    text, spaced = b'{"a":1,"stream":true}', b'{"a": 1, "stream":true}'

    def found(*body: bytes, max_json_bytes: int):
        return fingerprint("/p", "application/json", body, max_json_bytes)

    limit = len(spaced)
    assert found(text, max_json_bytes=limit) == found(spaced, max_json_bytes=limit)
    assert found(text, max_json_bytes=limit).wants_stream
    limit = len(text) - 1
    whole = found(text, max_json_bytes=limit)
    assert found(text[:3], text[3:9], text[9:], max_json_bytes=limit) == whole
    assert found(spaced, max_json_bytes=limit) != whole
    assert not whole.wants_stream


async def test_an_infer_request_longer_than_json_may_be_is_compared_as_bytes(bench):
    bench.limits = bench.limits.model_copy(update={"max_body_bytes": 1024})
    # Seeds of blanks: as JSON, which is how long bodies must not be read, both were the same.
    seeds = [blank * 8 for blank in (b" ", b"\n")]
    inputs = [PROMPT, raw_tensor("SEED", "INT64", 1, seeds[0])]
    request = binary_request({"inputs": inputs, "id": "i" * 700})
    length = len(request["content"])
    assert length <= 1024 < length + 400
    request = binary_request({"inputs": inputs, "id": "i" * (700 + 1024 - length)})
    request["headers"] |= {**KEY, "Content-Type": "application/json"}
    json_part = request.pop("content")
    async with bench.client() as client:
        answers = [await client.post(INFER, content=json_part + seed, **request) for seed in seeds]
    assert len(json_part) == 1024
    assert [answer.status_code for answer in answers] == [200, 409]


@pytest.mark.parametrize("depth", [100, 480, 980, 20_000])
def test_deeply_nested_json_is_survived(depth):
    body = b'{"a":' * depth + b"1" + b"}" * depth
    assert fingerprint("/p", "application/json", [body])


def test_the_path_and_json_types_matter():
    def of(path, value):
        return fingerprint(path, "application/json", [json.dumps(value).encode()]).digest

    assert of("/a", {"n": 1}) != of("/b", {"n": 1})
    assert of("/a", {"n": 1}) != of("/a", {"n": "1"})
    assert of("/a", {"n": 1}) != of("/a", {"n": True})
    assert of("/a", {"n": None}) != of("/a", {})
