"""An answer comes back from where it was kept as it was."""

from __future__ import annotations

import httpx
import pytest

from service.database.claims import InProgress
from service.errors import LedgerFailed
from service.rest.answers import Answer
from service.rest.shared_answers import SharedRequests, from_bytes, shared_key, to_bytes
from tests.oip_kit import INFER, PROMPT
from tests.rest_kit import IMAGES


@pytest.mark.parametrize("body", [b"", b"{}", bytes(range(256)) * 1024])
def test_an_answer_is_kept_whole(body):
    headers = [(b"content-type", b"application/json"), (b"x-odd", b"\xe9\x00")]
    start = {"type": "http.response.start", "status": 201, "headers": headers}
    found = from_bytes(to_bytes(Answer(start, (body[:7], body[7:]))))
    assert found.start == start
    assert b"".join(found.body) == body
    assert all(len(piece) <= 64 * 1024 for piece in found.body)


def test_a_key_belongs_to_its_caller():
    keys = {shared_key("a", b"k"), shared_key("a", b"l"), shared_key("b", b"k")}
    assert len(keys) == 3
    assert all(len(key) == 32 for key in keys)


class AwayAnswers:
    """A database that goes away: after so many claims, each of which finds another replica's."""

    lease_s = 60.0

    def __init__(self, claims_until_away: int = 0) -> None:
        self._left = claims_until_away

    def claim(self, key_sha256: bytes, request_sha256: bytes) -> InProgress:
        if not self._left:
            raise LedgerFailed("away")
        self._left -= 1
        return InProgress(request_sha256)

    def renew(self, key_sha256: bytes, claim: str) -> None:
        raise LedgerFailed("away")

    def answer(self, key_sha256: bytes, claim: str, content: bytes) -> None:
        raise LedgerFailed("away")

    def release(self, key_sha256: bytes, claim: str) -> None:
        raise LedgerFailed("away")


def check_refusal(response: httpx.Response) -> None:
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert "x-should-retry" not in response.headers


@pytest.mark.parametrize("claims_until_away", [0, 1])
async def test_without_the_database_nothing_is_begun_and_a_retry_is_welcome(
    bench, claims_until_away
):
    bench.shared = SharedRequests(AwayAnswers(claims_until_away), bench.pool, wait_s=30)
    key = {"Idempotency-Key": "order-17"}
    async with bench.client() as client:
        picture = await client.post(IMAGES, json={"prompt": "x"}, headers=key)
        check_refusal(picture)
        assert picture.json()["error"]["code"] == "ledger_unavailable"
        tensors = await client.post(INFER, json={"inputs": [PROMPT]}, headers=key)
        check_refusal(tensors)
        assert tensors.json()["code"] == "ledger_unavailable"
        assert bench.generate.requests == []
        assert (await client.post(IMAGES, json={"prompt": "x"})).status_code == 200
