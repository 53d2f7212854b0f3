"""Whose requests are whose, and what is on whose account, whatever the transport."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, contextmanager

import pytest

from service.access.caller import current_caller
from service.access.generation import GuardedGeneration
from service.access.owners import RequestOwners
from service.domain.identity import Deadline, RequestId
from service.domain.stream import Accepted
from service.errors import InvalidRequest, QueueFull, RateLimited, Unauthenticated
from tests.access_kit import ADMIN_KEY, APP_KEY, OTHER_KEY, keyed_access, make_entry
from tests.factories import make_request
from tests.fakes import FakeGeneration

ID = RequestId("req_1")
FOREVER = Deadline(1e9)


class StreamingGeneration(FakeGeneration):
    """Streams one event and then waits for as long as somebody listens."""

    def __init__(self) -> None:
        super().__init__()
        self.is_closed = False

    async def stream(self, request, *, request_id, deadline):
        self.request_ids.append(request_id)
        try:
            yield Accepted(request_id, 0, 0.0)
            await asyncio.Event().wait()
        finally:
            self.is_closed = True


@pytest.fixture
def access():
    return keyed_access()


@pytest.fixture
def inner():
    return StreamingGeneration()


@pytest.fixture
def generate(inner, access):
    return GuardedGeneration(inner, access, lambda request: 10.0 * request.num_images)


@contextmanager
def calling(access, key):
    token = current_caller.set(access.authenticate(f"Bearer {key}"))
    try:
        yield
    finally:
        current_caller.reset(token)


async def call(generate, request_id=ID):
    return await generate(make_request(), request_id=request_id, deadline=FOREVER)


async def test_only_its_caller_and_administrators_see_and_stop_a_request(access, generate):
    with calling(access, APP_KEY):
        await call(generate)
        assert generate.progress(ID) is not None
    with calling(access, OTHER_KEY):
        assert generate.progress(ID) is None
        assert generate.cancel(ID) is False
    with calling(access, ADMIN_KEY):
        assert generate.progress(ID) is not None
        assert generate.cancel(ID) is True


async def test_nobody_is_let_in_without_a_caller(generate, inner):
    with pytest.raises(Unauthenticated):
        await call(generate)
    with pytest.raises(Unauthenticated):
        generate.progress(ID)
    assert inner.requests == []


async def test_another_callers_id_cannot_be_taken_over(access, generate, inner):
    with calling(access, APP_KEY):
        await call(generate)
    with calling(access, OTHER_KEY):
        with pytest.raises(InvalidRequest) as refused:
            await call(generate)
        assert refused.value.param == "x-request-id"
        assert generate.progress(ID) is None
    assert len(inner.requests) == 1


async def test_a_refused_request_does_not_keep_its_id(access, generate, inner):
    inner.error = QueueFull("Full.")
    inner.progress = lambda request_id: None
    with calling(access, APP_KEY), pytest.raises(QueueFull):
        await call(generate)
    inner.error = None
    with calling(access, OTHER_KEY):
        await call(generate)


async def test_a_stream_is_on_the_account_until_it_is_closed(access, inner):
    access = keyed_access(make_entry(concurrent_requests=1))
    generate = GuardedGeneration(inner, access, lambda _: 0.0)
    with calling(access, APP_KEY):
        stream = generate.stream(make_request(), request_id=ID, deadline=FOREVER)
        async with aclosing(stream) as events:
            assert isinstance(await anext(events), Accepted)
            with pytest.raises(RateLimited):
                await call(generate, RequestId("req_2"))
            assert generate.progress(ID) is not None
        assert inner.is_closed
        await call(generate, RequestId("req_2"))


async def test_work_is_counted_by_its_estimate():
    inner = StreamingGeneration()
    inner.hold = asyncio.Event()
    access = keyed_access(make_entry(queued_seconds=15))
    generate = GuardedGeneration(inner, access, lambda request: 10.0 * request.num_images)
    with calling(access, APP_KEY):
        first = asyncio.create_task(call(generate))
        await inner.started.wait()
        with pytest.raises(RateLimited) as refused:
            await call(generate, RequestId("req_2"))
        assert refused.value.retry_after_s == pytest.approx(5, abs=1)
        inner.hold.set()
        await first
        await call(generate, RequestId("req_2"))


def test_owners_forget_the_oldest():
    access = keyed_access()
    app = access.authenticate(f"Bearer {APP_KEY}")
    owners = RequestOwners(max_requests=2)
    for number in range(3):
        owners.claim(RequestId(f"req_{number}"), app)
    assert [owners.may_see(RequestId(f"req_{n}"), app) for n in range(3)] == [False, True, True]
