"""`response_format` "url": links instead of pictures, and the route that serves them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from service.errors import StorageFailed, StorageFull
from service.rest.openapi_answers import ImagesResponse
from service.storage.folder import FolderStorage
from service.storage.interface import StoredPicture
from tests.access_kit import keyed_access
from tests.pictures import png
from tests.rest_kit import EDITS, IMAGES
from tests.storage_kit import WallClock, folder_storage, ready

LINK = {"prompt": "x", "response_format": "url"}


@pytest.fixture
def clock() -> WallClock:
    return WallClock()


@pytest.fixture
def folder(bench, tmp_path, clock) -> Iterator[FolderStorage]:
    storage = folder_storage(tmp_path / "pictures", clock)
    with ready(storage, storage) as bench.storage:
        yield storage


class FailingStorage:
    """Refuses at once if it is full, else fails after a while."""

    def __init__(self, *, is_full: bool = False, pause_s: float = 0.0) -> None:
        self.is_full = is_full
        self.pause_s = pause_s

    def refuse_if_full(self) -> None:
        if self.is_full:
            raise StorageFull("Full.", retry_after_s=7.0)

    def store(self, image, base_url) -> StoredPicture:
        time.sleep(self.pause_s)
        raise StorageFailed("The disk is broken.")


async def test_the_answer_holds_links_that_lead_to_the_pictures(bench, folder):
    async with bench.client() as client:
        response = await client.post(IMAGES, json={**LINK, "n": 2, "output_format": "webp"})
        assert response.status_code == 200
        answer = response.json()
        ImagesResponse.model_validate(answer)
        assert len({item["url"] for item in answer["data"]}) == 2
        for index, item in enumerate(answer["data"]):
            assert "b64_json" not in item
            assert item["output_id"] == f"out_{index}"
            assert item["url"].startswith(f"http://mintmark.test/v1/images/files/out_{index}.webp?")
            fetched = await client.get(item["url"])
            assert fetched.status_code == 200
            assert fetched.content == bench.generate.content
    assert fetched.headers["content-type"] == "image/webp"
    assert fetched.headers["content-disposition"] == 'inline; filename="out_1.webp"'
    assert fetched.headers["x-content-type-options"] == "nosniff"
    assert fetched.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert fetched.headers["cache-control"] == "private, max-age=3600, immutable"
    assert int(fetched.headers["content-length"]) == len(bench.generate.content)


async def test_edits_are_answered_by_link_too(bench, folder):
    async with bench.client() as client:
        response = await client.post(EDITS, files={"image": ("a.png", png())}, data=LINK)
        assert (await client.get(response.json()["data"][0]["url"])).status_code == 200


@pytest.mark.parametrize(
    ("host", "begin"),
    [
        ("pictures.example.com:8443", "http://pictures.example.com:8443/v1/"),
        ("[::1]:3000", "http://[::1]:3000/v1/"),
    ],
)
async def test_links_begin_as_the_caller_addresses_us(bench, folder, host, begin):
    async with bench.client() as client:
        response = await client.post(IMAGES, json=LINK, headers={"host": host})
    assert response.json()["data"][0]["url"].startswith(begin)


@pytest.mark.parametrize("host", ['x"><script>', "user@x.example", "a/x", "a b.x"])
async def test_a_host_that_is_none_is_not_repeated(bench, folder, host):
    async with bench.client() as client:
        response = await client.post(IMAGES, json=LINK, headers={"host": host})
    url = response.json()["data"][0]["url"]
    assert "/v1/images/files/out_0.png" in url
    assert host not in url


async def test_without_a_storage_the_refusal_says_how_to_have_one(bench):
    async with bench.client() as client:
        response = await client.post(IMAGES, json=LINK)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == "response_format"
    assert "MINTMARK_STORAGE__KIND" in error["message"]
    assert bench.generate.requests == []


async def test_a_full_storage_is_asked_before_anything_is_drawn(bench):
    with ready(FailingStorage(is_full=True)) as bench.storage:
        async with bench.client() as client:
            response = await client.post(IMAGES, json=LINK)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "storage_full"
    assert response.headers["retry-after-ms"] == "7000"
    assert bench.generate.requests == []


async def test_a_picture_that_cannot_be_stored_is_named_and_not_drawn_again(bench):
    with ready(FailingStorage()) as bench.storage:
        async with bench.client() as client:
            response = await client.post(IMAGES, json={**LINK, "n": 2, "seed": 41})
    assert response.status_code == 503
    error = response.json()["error"]
    assert error["code"] == "storage_failed"
    assert "out_0, out_1" in error["message"]
    assert "'seed' 41" in error["message"]
    assert response.headers["x-should-retry"] == "false"
    assert "retry-after" not in response.headers


async def test_storing_keeps_the_deadline(bench):
    bench.request_timeout_s = 0.1
    with ready(FailingStorage(pause_s=0.5)) as bench.storage:
        async with bench.client() as client:
            response = await client.post(IMAGES, json=LINK)
    assert response.status_code == 504


async def test_a_link_needs_no_key_and_nothing_else_opens_it(bench, folder):
    async with bench.client() as client:
        url = (await client.post(IMAGES, json=LINK)).json()["data"][0]["url"]
    bench.access = keyed_access()
    place, _, query = url.partition("?")
    expires, signature = query.split("&")
    wrong = [
        place,
        f"{place}?{expires}",
        f"{place}?{signature}",
        f"{place}?{query}&x=1",
        f"{place}?{query}&{expires}",
        f"{place}?{expires}&signature={'0' * 64}",
        f"{place}?expires=9999999999&{signature}",
        f"{place}?expires=&signature=",
        f"{place}x?{query}",
        f"{place.replace('out_0', 'out_1')}?{query}",
        f"{place.replace('out_0.png', '..%2F..%2Fetc%2Fpasswd')}?{query}",
        f"{place.replace('out_0.png', '%2e%2e')}?{query}",
        f"{place.replace('out_0.png', 'out_0.png%00')}?{query}",
    ]
    async with bench.client() as client:
        assert (await client.get(url)).status_code == 200
        assert (await client.head(url)).status_code == 200
        answers = [await client.get(each) for each in wrong]
        posted = await client.post(url)
    assert [answer.status_code for answer in answers] == [404] * len(wrong)
    bodies = [answer.json()["error"] for answer in answers if "/etc" not in str(answer.url)]
    assert {(body["code"], body["param"]) for body in bodies} == {("not_found", None)}
    assert posted.status_code == 405


async def test_a_link_ends(bench, folder, clock):
    async with bench.client() as client:
        item = (await client.post(IMAGES, json=LINK)).json()["data"][0]
        clock.now_s = item["expires_at"] - 1
        assert (await client.get(item["url"])).status_code == 200
        clock.now_s = item["expires_at"]
        assert (await client.get(item["url"])).status_code == 404


async def test_links_elsewhere_are_not_served_here(bench):
    with ready(FailingStorage()) as bench.storage:
        async with bench.client() as client:
            response = await client.get("/v1/images/files/out_0.png?expires=1&signature=x")
    assert response.status_code == 404


async def test_the_client_leaving_cancels_the_work(bench, folder):
    bench.generate.hold = asyncio.Event()
    async with bench.client() as client:
        call = asyncio.create_task(client.post(IMAGES, json=LINK))
        await bench.generate.started.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert len(bench.generate.cancelled) == 1
