"""Two replicas with one PostgreSQL database behave as one server."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

from service.access.control import open_access
from service.bootstrap import build_application
from service.config import ServerOptions, Settings
from service.database.answers import AnswerTable
from service.database.claims import Claimed
from service.database.database import Database
from service.domain.identity import Deadline, RequestId
from service.errors import WatermarkFailed
from service.intake import GenerationDraft, LimitsOptions, build_request
from service.provenance.development_ca import issue_chain
from service.rest.fingerprint import fingerprint
from service.rest.shared_answers import SharedRequests, shared_key
from service.telemetry.metrics import Metrics
from tests.provenance_kit import without_metadata, write_chain
from tests.rest_kit import IMAGES, rest_bench

BODY = {"prompt": "x", "seed": 1}
KEY = {"Idempotency-Key": "order-17"}
REPLAYED = "idempotent-replayed"
LEASE_S = 1.0


@pytest.fixture
def replicas(postgres, name, tmp_path):
    """Return two HTTP apps, each with a pool of its own to one database."""
    with ExitStack() as stack:
        benches = []
        for _ in range(2):
            database = Database.open(postgres.options(name), tmp_path)
            stack.callback(database.close)
            pool = stack.enter_context(ThreadPoolExecutor(2))
            bench = stack.enter_context(rest_bench())
            table = AnswerTable(database, ttl_s=60, max_bytes=1_000_000, lease_s=LEASE_S)
            bench.shared = SharedRequests(table, pool, wait_s=30)
            benches.append(bench)
        yield benches


def drawn(replicas):
    return [len(bench.generate.requests) for bench in replicas]


async def begun(bench, client):
    """Return a request that is being carried out at `bench`."""
    bench.generate.hold = asyncio.Event()
    call = asyncio.create_task(client.post(IMAGES, json=BODY, headers=KEY))
    await bench.generate.started.wait()
    return call


async def test_a_finished_answer_is_repeated_by_the_other_replica_byte_by_byte(replicas):
    here, there = replicas
    async with here.client() as a, there.client() as b:
        first = await a.post(IMAGES, json={"prompt": "x"}, headers=KEY)
        second = await b.post(IMAGES, json={"prompt": "x"}, headers=KEY)
        third = await a.post(IMAGES, json={"prompt": "x"}, headers=KEY)
    assert first.status_code == 200
    assert first.content == second.content == third.content
    assert [REPLAYED in answer.headers for answer in (first, second, third)] == [False, True, True]
    assert second.headers["content-type"] == first.headers["content-type"]
    assert second.headers["x-request-id"] != first.headers["x-request-id"]
    assert drawn(replicas) == [1, 0]


async def test_a_request_that_runs_at_one_replica_is_joined_at_the_other(replicas):
    here, there = replicas
    async with here.client() as a, there.client() as b:
        first = await begun(here, a)
        second = asyncio.create_task(b.post(IMAGES, json=BODY, headers=KEY))
        third = asyncio.create_task(b.post(IMAGES, json=BODY, headers=KEY))
        conflict = await b.post(IMAGES, json={"prompt": "y"}, headers=KEY)
        here.generate.hold.set()
        answers = [await first, await second, await third]
    assert (conflict.status_code, conflict.json()["error"]["code"]) == (409, "idempotency_conflict")
    assert len({answer.content for answer in answers}) == 1
    assert [REPLAYED in answer.headers for answer in answers] == [False, True, True]
    assert drawn(replicas) == [1, 0]


async def test_without_a_key_nobody_asks_the_database(replicas, postgres, name):
    postgres.execute("DROP TABLE answers", name)
    async with replicas[0].client() as client:
        assert (await client.post(IMAGES, json=BODY)).status_code == 200


async def test_a_failure_is_not_kept_and_who_waits_elsewhere_tries(replicas):
    here, there = replicas
    here.generate.error = WatermarkFailed("no")
    async with here.client() as a, there.client() as b:
        assert (await a.post(IMAGES, json=BODY, headers=KEY)).status_code == 500
        assert (await b.post(IMAGES, json=BODY, headers=KEY)).status_code == 200
    assert drawn(replicas) == [1, 1]


async def test_when_the_first_client_leaves_the_one_who_waits_elsewhere_is_served(replicas):
    here, there = replicas
    async with here.client() as a, there.client() as b:
        first = await begun(here, a)
        second = asyncio.create_task(b.post(IMAGES, json=BODY, headers=KEY))
        await asyncio.sleep(0.2)
        first.cancel()
        answer = await second
    assert answer.status_code == 200
    assert REPLAYED not in answer.headers
    assert len(here.generate.cancelled) == 1


async def test_who_leaves_while_waiting_for_the_other_replica_begins_nothing(replicas):
    here, there = replicas
    async with here.client() as a, there.client() as b:
        first = await begun(here, a)
        second = asyncio.create_task(b.post(IMAGES, json=BODY, headers=KEY))
        await asyncio.sleep(0.2)
        second.cancel()
        await asyncio.sleep(0.2)
        here.generate.hold.set()
        assert (await first).status_code == 200
    assert drawn(replicas) == [1, 0]


async def test_a_claim_is_kept_for_as_long_as_its_request_takes(replicas):
    here, there = replicas
    async with here.client() as a, there.client() as b:
        first = await begun(here, a)
        second = asyncio.create_task(b.post(IMAGES, json=BODY, headers=KEY))
        await asyncio.sleep(2.5 * LEASE_S)
        here.generate.hold.set()
        await first
        assert REPLAYED in (await second).headers
    assert drawn(replicas) == [1, 0]


async def test_what_a_dead_replica_had_claimed_is_carried_out_after_its_lease(replicas):
    here, there = replicas
    # As if a replica had died in the middle: it claims and neither answers nor renews.
    digest = fingerprint(IMAGES, "application/json", [json.dumps(BODY).encode()]).digest
    key = shared_key(here.access.caller().name, KEY["Idempotency-Key"].encode())
    assert isinstance(here.shared.answers.claim(key, digest), Claimed)
    began_s = time.monotonic()
    async with there.client() as client:
        answer = await client.post(IMAGES, json=BODY, headers=KEY)
    assert answer.status_code == 200
    assert REPLAYED not in answer.headers
    assert time.monotonic() - began_s > 0.5 * LEASE_S


async def test_waiting_for_the_other_replica_ends(replicas):
    here, there = replicas
    there.shared = SharedRequests(there.shared.answers, there.shared.pool, wait_s=0.2)
    async with here.client() as a, there.client() as b:
        first = await begun(here, a)
        late = await b.post(IMAGES, json=BODY, headers=KEY)
        here.generate.hold.set()
        await first
    assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")


async def test_a_database_that_does_not_answer_lets_nothing_begin(replicas, postgres, name):
    postgres.execute("ALTER TABLE answers RENAME TO away", name)
    async with replicas[0].client() as client:
        failed = await client.post(IMAGES, json=BODY, headers=KEY)
        postgres.execute("ALTER TABLE away RENAME TO answers", name)
        again = await client.post(IMAGES, json=BODY, headers=KEY)
    assert (failed.status_code, failed.json()["error"]["code"]) == (503, "ledger_unavailable")
    assert int(failed.headers["retry-after"]) > 0
    assert again.status_code == 200
    assert drawn(replicas) == [1, 0]


async def test_an_answer_that_cannot_be_kept_is_given_all_the_same(replicas, postgres, name):
    here, there = replicas
    async with here.client() as a, there.client() as b:
        first = await begun(here, a)
        postgres.execute("ALTER TABLE answers RENAME TO away", name)
        here.generate.hold.set()
        assert (await first).status_code == 200
        postgres.execute("ALTER TABLE away RENAME TO answers", name)
        again = await b.post(IMAGES, json=BODY, headers=KEY)  # once the lease is over
    assert again.status_code == 200
    assert REPLAYED not in again.headers


# --- real pictures --------------------------------------------------------------------------------


async def test_what_one_replica_signs_the_other_knows(postgres, name, tmp_path):
    chain = write_chain(tmp_path / "keys", issue_chain("Two replicas", datetime.now(UTC)))
    with ExitStack() as stack:
        replicas = []
        for number in range(2):
            settings = Settings(
                server=ServerOptions(state_dir=tmp_path / f"state-{number}"),
                provenance=chain,
                ledger=postgres.options(name),
            )
            replicas.append(build_application(settings, Metrics("test"), open_access()))
            stack.callback(replicas[-1].close)
        here, there = (replica.rest for replica in replicas)
        assert here.shared is not None
        draft = GenerationDraft(prompt="a red apple", num_inference_steps=2, seed=1)
        request = build_request(draft, here.models[here.default_model_id], LimitsOptions())
        result = await here.generate(
            request, request_id=RequestId("one"), deadline=Deadline.after(60, time.monotonic())
        )
        (image,) = result.images
        whole = there.verifier.verify(image.content)
        bare = there.verifier.verify(without_metadata(image.content))
    assert whole.verdict == "ai_generated_by_us"
    assert whole.watermark.registered
    assert bare.watermark.registered
    assert bare.watermark.output_id == image.output_id
    assert not list(tmp_path.glob("state-*/ledger.sqlite3"))
