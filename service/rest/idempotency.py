"""`Idempotency-Key`: a request that is made again is answered again, and carried out once.

Semantics of draft-ietf-httpapi-idempotency-key-header: the same key and request replay or join;
the same key and another request are a conflict. Only successes are kept, so that a retry after a
failure tries again. Replicas that share a database answer as one; without one, each for itself.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from service.errors import Cancelled, InvalidRequest
from service.rest.answers import Answer, AnswerStore
from service.rest.disconnect import client_has_left
from service.rest.fingerprint import MAX_JSON_BYTES, fingerprint
from service.rest.shared_answers import KEY_PARAM, Attempt, Outcome, check_same, shared_key
from service.rest.spooled_body import SpooledBody

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from service.access.control import AccessControl
    from service.rest.fingerprint import Fingerprint
    from service.rest.shared_answers import SharedRequests

_HEADER = b"idempotency-key"
_REPLAYED = (b"idempotent-replayed", b"true")
# Visible ASCII: an opaque token, or the draft's quoted string, which is compared with its quotes.
_VALID = re.compile(rb"[\x21-\x7e]{1,255}")

# Caller, key, and nothing or the request's digest: see `_store_key`.
_StoreKey = tuple[str, bytes, bytes]


@dataclass(slots=True, eq=False)
class _Running:
    """A request that is being carried out, and how many wait for its answer."""

    fingerprint: Fingerprint
    task: asyncio.Task[Outcome]
    has_no_waiter: asyncio.Event
    waiters: int = 0


@dataclass(slots=True)
class IdempotentRequests:
    """What all routes with idempotency share: one key means one thing in all of them.

    `shared`: returns where replicas meet, or None if this one keeps its answers in `store` alone.
    `max_json_bytes`: the longest body that any route reads as JSON.
    """

    access: AccessControl
    store: AnswerStore
    shared: Callable[[], SharedRequests | None] = lambda: None
    max_json_bytes: int = MAX_JSON_BYTES
    running: dict[_StoreKey, _Running] = field(default_factory=dict)

    def end(self, store_key: _StoreKey, running: _Running) -> None:
        """Let nobody join `running` any more."""
        if self.running.get(store_key) is running:
            del self.running[store_key]


class Idempotency:
    """Stands before one route; requests without the header pass it untouched.

    A request with the header is carried out by a task of its own. Whoever sends it again
    meanwhile waits for the same answer. When the last who waits has left, it is cancelled, as it
    would be for a single client that left.
    """

    def __init__(self, app: ASGIApp, requests: IdempotentRequests) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; raises InvalidRequest or IdempotencyConflict, or what the app does."""
        key = _offered_key(scope)
        if key is None:
            await self._app(scope, receive, send)
            return
        body = SpooledBody()
        try:
            await body.fill(receive)
            wanted = await _fingerprint(scope, body, self._requests.max_json_bytes)
            store_key = self._store_key(key, wanted)
            found = self._find(store_key, wanted)
        except BaseException:
            body.close()
            raise
        if found is None:  # the task that is begun closes the body
            running = self._begin(store_key, wanted, scope, body)
            outcome = await self._wait(store_key, running, receive)
            await _send(outcome.answer, send, is_replayed=outcome.is_replayed)
            return
        body.close()
        if isinstance(found, _Running):
            found = (await self._wait(store_key, found, receive)).answer
        await _send(found, send, is_replayed=True)

    def _store_key(self, key: bytes, wanted: Fingerprint) -> _StoreKey:
        """Return what joins requests here: the caller's key, which one request may have.

        Among replicas it is the database that knows which one. Another request must not turn away
        the right one here while it still asks there.
        """
        digest = b"" if self._requests.shared() is None else wanted.digest
        return (self._requests.access.caller().name, key, digest)

    def _find(self, store_key: _StoreKey, wanted: Fingerprint) -> Answer | _Running | None:
        """Return what there is of this request; raises IdempotencyConflict if it is of another."""
        kept = self._requests.store.find(store_key)
        if kept is not None:
            check_same(kept.digest, wanted.digest)
            return kept.answer
        running = self._requests.running.get(store_key)
        if running is not None:
            check_same(running.fingerprint.digest, wanted.digest)
        return running

    def _begin(
        self, store_key: _StoreKey, wanted: Fingerprint, scope: Scope, body: SpooledBody
    ) -> _Running:
        has_no_waiter = asyncio.Event()
        shared = self._requests.shared()
        work = partial(_carry_out, self._app, scope, body, has_no_waiter)
        attempt = Attempt(shared_key(*store_key[:2]), wanted.digest, work, has_no_waiter)
        task = asyncio.create_task(attempt.alone() if shared is None else shared.carry_out(attempt))
        running = _Running(wanted, task, has_no_waiter)
        self._requests.running[store_key] = running

        def settle(done: asyncio.Task[Outcome]) -> None:
            body.close()  # nobody has read it, if the answer came from another replica
            self._requests.end(store_key, running)
            # `exception` also tells asyncio that an error has been seen: a waiter may have left.
            if done.cancelled() or done.exception() is not None or shared is not None:
                return
            answer = done.result().answer
            if answer.is_success:
                self._requests.store.keep(store_key, wanted.digest, answer)

        task.add_done_callback(settle)
        return running

    async def _wait(self, store_key: _StoreKey, running: _Running, receive: Receive) -> Outcome:
        """Return the answer, or raise what the request ended with; Cancelled if this client left.

        Many may wait for one task, so nobody's leaving ends it, except the last one's.
        """
        running.waiters += 1
        watch = asyncio.ensure_future(client_has_left(receive))
        try:
            await asyncio.wait({running.task, watch}, return_when=asyncio.FIRST_COMPLETED)
            if running.task.done():
                return running.task.result()
            raise Cancelled("The client left before its answer was ready.")
        finally:
            watch.cancel()
            running.waiters -= 1
            if running.waiters == 0:
                # Whoever comes now begins anew, instead of joining what is being cancelled.
                self._requests.end(store_key, running)
                running.has_no_waiter.set()


async def _carry_out(
    app: ASGIApp, scope: Scope, body: SpooledBody, has_no_waiter: asyncio.Event
) -> Answer:
    """Return the app's whole answer to `body`, which was read before."""
    sent: list[Message] = []
    is_read = False

    async def receive() -> Message:
        nonlocal is_read
        if not is_read:
            message = await body.next_message()
            if not message["more_body"]:
                is_read = True
                body.close()
            return message
        await has_no_waiter.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    try:
        await app(scope, receive, send)
    finally:
        body.close()
    start, *rest = sent
    return Answer(start, tuple(message.get("body", b"") for message in rest))


def _offered_key(scope: Scope) -> bytes | None:
    offered: list[bytes] = [value for name, value in scope["headers"] if name == _HEADER]
    if not offered:
        return None
    if len(offered) > 1 or not _VALID.fullmatch(offered[0]):
        raise InvalidRequest(
            "Idempotency-Key must be one value of 1 to 255 visible ASCII characters.",
            param=KEY_PARAM,
        )
    return offered[0]


async def _fingerprint(scope: Scope, body: SpooledBody, max_json_bytes: int) -> Fingerprint:
    kind = Headers(scope=scope).get("content-type", "")
    wanted = await asyncio.to_thread(
        fingerprint, scope["path"], kind, body.pieces(), max_json_bytes
    )
    if wanted.wants_stream:
        raise InvalidRequest(
            "Idempotency-Key does not go with 'stream': events are not kept.", param=KEY_PARAM
        )
    return wanted


async def _send(answer: Answer, send: Send, *, is_replayed: bool = False) -> None:
    start = answer.start
    if is_replayed:
        start = {**start, "headers": [*start.get("headers", ()), _REPLAYED]}
    await send(start)
    for piece in answer.body:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(0)  # a turn for everyone else between pieces
    await send({"type": "http.response.body", "body": b"", "more_body": False})
