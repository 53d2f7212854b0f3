"""POST /v1/images/verify: one picture in, one report out, off the event loop and bounded."""

from __future__ import annotations

import asyncio

import pytest

from service.errors import InvalidRequest, PayloadTooLarge
from service.intake import LimitsOptions
from tests.rest_kit import VERIFY

PICTURE = ("picture.png", b"some bytes", "image/png")


async def test_the_report_is_the_answer(bench):
    async with bench.client() as client:
        response = await client.post(VERIFY, files={"image": PICTURE})
    assert response.status_code == 200
    report = response.json()
    assert report["verdict"] == "no_evidence"
    assert report["confidence"] == "none"
    assert report["c2pa"]["state"] == "Absent"
    assert report["watermark"]["check"] == "not_found"
    assert report["notes"] == []
    assert bench.verifier.contents == [b"some bytes"]
    assert bench.metric('mintmark_verifications_total{verdict="no_evidence"}') == 1


async def test_verification_runs_in_its_own_threads(bench):
    async with bench.client() as client:
        await client.post(VERIFY, files={"image": PICTURE})
    assert bench.verifier.thread_names[0].startswith("verify")


async def test_a_big_upload_arrives_whole(bench):
    content = bytes(range(256)) * 12 * 1024  # 3 MiB: beyond what is kept in memory by default
    async with bench.client() as client:
        response = await client.post(VERIFY, files={"image": ("p.png", content)})
    assert response.status_code == 200
    assert bench.verifier.contents == [content]


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"files": {"other": PICTURE}}, "other"),
        ({"files": [("image", PICTURE), ("image", PICTURE)]}, "image"),
        ({"files": [("image", PICTURE)] * 9}, "image"),
        ({"files": {"image": PICTURE}, "data": {"note": "x"}}, "note"),
        ({"files": {"image": ("empty.png", b"", "image/png")}}, "image"),
    ],
)
async def test_exactly_one_picture_is_wanted(bench, form, param):
    async with bench.client() as client:
        response = await client.post(VERIFY, **form)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert bench.verifier.contents == []


TEXT_PART = b'--B\r\nContent-Disposition: form-data; name="image"\r\n\r\ntext\r\n--B--\r\n'
BROKEN = {
    "no parts": b"--B--\r\n",
    "empty": b"",
    "not multipart": b"hello",
    "no name": b'--B\r\nContent-Disposition: form-data; filename="a"\r\n\r\nx\r\n--B--\r\n',
    "a text field": TEXT_PART,
    "cut in a header": b"--B\r\nContent-Dispo",
    "wrong boundary": b"--C\r\n\r\nx\r\n--C--\r\n",
    "null bytes": bytes(2000),
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_form_is_a_bad_request(bench, body):
    headers = {"content-type": "multipart/form-data; boundary=B"}
    async with bench.client() as client:
        response = await client.post(VERIFY, content=body, headers=headers)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "image"


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "x" * 5000,
        "multipart/form-data; boundary=B; charset=hex",
        "multipart/form-data; boundary=B; charset=nonsense",
    ],
)
async def test_a_strange_content_type_is_no_server_error(bench, content_type):
    headers = {"content-type": content_type}
    async with bench.client() as client:
        response = await client.post(VERIFY, content=TEXT_PART, headers=headers)
    assert response.status_code == 400


async def test_json_is_not_a_form(bench):
    async with bench.client() as client:
        response = await client.post(VERIFY, json={"image": "https://example.com/a.png"})
    assert response.status_code == 415


async def test_an_upload_is_limited_while_it_streams(bench):
    bench.limits = LimitsOptions(max_upload_bytes=64 * 1024)
    sent_pieces = 0

    async def endless():
        nonlocal sent_pieces
        yield b'--B\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        while sent_pieces < 1000:
            sent_pieces += 1
            yield b"x" * 8192

    headers = {"content-type": "multipart/form-data; boundary=B"}
    async with bench.client() as client:
        response = await client.post(VERIFY, content=endless(), headers=headers)
        fits = await client.post(VERIFY, files={"image": ("a.png", b"x" * 64 * 1024)})
    assert response.status_code == 413
    assert sent_pieces < 20
    assert fits.status_code == 200


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidRequest("No picture.", param="image"), 400),
        (PayloadTooLarge("Too many pixels.", param="image"), 413),
        (RuntimeError("native trouble"), 500),
    ],
)
async def test_the_verifiers_errors_have_their_status(bench, error, status):
    bench.verifier.error = error
    async with bench.client() as client:
        response = await client.post(VERIFY, files={"image": PICTURE})
    assert response.status_code == status


async def test_waiting_verifications_are_bounded(bench):
    bench.verifier.may_finish.clear()
    async with bench.client() as client:
        calls = [
            asyncio.create_task(client.post(VERIFY, files={"image": PICTURE})) for _ in range(5)
        ]
        done, waiting = await asyncio.wait(calls, timeout=5, return_when="FIRST_COMPLETED")
        while len(done) < 3:
            more, waiting = await asyncio.wait(waiting, timeout=5, return_when="FIRST_COMPLETED")
            assert more
            done |= more
        bench.verifier.may_finish.set()
        await asyncio.wait(waiting)
        again = await client.post(VERIFY, files={"image": PICTURE})
    assert sorted(call.result().status_code for call in calls) == [200, 200, 503, 503, 503]
    assert again.status_code == 200
