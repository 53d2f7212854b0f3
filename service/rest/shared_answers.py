"""Carries a request with an `Idempotency-Key` out once over all replicas that share a database."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from service.database.claims import Answered, Claimed
from service.errors import (
    Cancelled,
    DeadlineExceeded,
    IdempotencyConflict,
    LedgerFailed,
    LedgerUnavailable,
)
from service.rest.answers import Answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from concurrent.futures import Executor

    from service.database.claims import InProgress, SharedAnswers

T = TypeVar("T")

KEY_PARAM = "idempotency-key"

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_RENEWALS_PER_LEASE = 3
_RETRY_AFTER_S = 5.0
_PIECE_BYTES = 64 * 1024
_LENGTH_BYTES = 4

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer, and whether it had been given before."""

    answer: Answer
    is_replayed: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request with a key at this replica.

    `work`: carries the request out. `has_no_waiter`: set when nobody wants its answer any more.
    """

    key_sha256: bytes
    request_sha256: bytes
    work: Callable[[], Awaitable[Answer]]
    has_no_waiter: asyncio.Event

    async def alone(self) -> Outcome:
        """Carry the request out without asking other replicas."""
        return Outcome(await self.work())


@dataclass(frozen=True, slots=True)
class SharedRequests:
    """Where replicas meet. `pool`: threads for `answers`, which block.

    `wait_s`: how long a request waits for another replica's answer to the same one.
    """

    answers: SharedAnswers
    pool: Executor
    wait_s: float

    async def carry_out(self, attempt: Attempt) -> Outcome:
        """Return the answer that another replica has given or gives, or carry the request out.

        If the other replica fails or dies, the request is carried out here. Raises what the
        request ended with; IdempotencyConflict; Cancelled when nobody waits any more;
        DeadlineExceeded after `wait_s`; LedgerUnavailable if the database does not answer, and then
        nothing was started.
        """
        ends_at_s = time.monotonic() + self.wait_s
        pause_s = _FIRST_PAUSE_S
        while True:
            found = await self._claim(attempt)
            if isinstance(found, Claimed):
                return Outcome(await self._claimed(attempt, found.claim))
            check_same(found.request_sha256, attempt.request_sha256)
            if isinstance(found, Answered):
                return Outcome(from_bytes(found.content), is_replayed=True)
            if time.monotonic() >= ends_at_s:
                raise DeadlineExceeded("The same request is still being carried out elsewhere.")
            await _pause(pause_s, attempt.has_no_waiter)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _claim(self, attempt: Attempt) -> Claimed | InProgress | Answered:
        try:
            return await self._run(self.answers.claim, attempt.key_sha256, attempt.request_sha256)
        except LedgerFailed as error:
            raise LedgerUnavailable(
                "The database that keeps Idempotency-Keys does not answer. Nothing was started.",
                retry_after_s=_RETRY_AFTER_S,
            ) from error

    async def _claimed(self, attempt: Attempt, claim: str) -> Answer:
        """Carry the request out; keep its answer before anyone sees it, if it is a success."""
        answer: Answer | None = None
        try:
            async with self._renewing(attempt.key_sha256, claim):
                answer = await attempt.work()
        finally:
            await self._settle(attempt.key_sha256, claim, answer)
        return answer

    async def _settle(self, key_sha256: bytes, claim: str, answer: Answer | None) -> None:
        try:
            if answer is not None and answer.is_success:
                await self._run(self.answers.answer, key_sha256, claim, to_bytes(answer))
            else:
                await self._run(self.answers.release, key_sha256, claim)
        except LedgerFailed:
            # The pictures are recorded, so they may leave; a retry elsewhere would draw others.
            logger.warning("an answer could not be kept for retries")

    @asynccontextmanager
    async def _renewing(self, key_sha256: bytes, claim: str) -> AsyncIterator[None]:
        task = asyncio.create_task(self._renew(key_sha256, claim))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _renew(self, key_sha256: bytes, claim: str) -> None:
        while True:
            await asyncio.sleep(self.answers.lease_s / _RENEWALS_PER_LEASE)
            try:
                await self._run(self.answers.renew, key_sha256, claim)
            except LedgerFailed:
                logger.warning("a claim could not be renewed; another replica may take it over")

    async def _run(self, call: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.pool, call, *args)


def check_same(digest: bytes, wanted: bytes) -> None:
    """Raise IdempotencyConflict if a key that is used for one request comes with another."""
    if digest != wanted:
        raise IdempotencyConflict(
            "This Idempotency-Key was used for another request; use a new one.", param=KEY_PARAM
        )


def shared_key(caller_name: str, key: bytes) -> bytes:
    """Return the name of a caller's key in the database, which keeps neither."""
    return hashlib.sha256(caller_name.encode("utf-8") + b"\n" + key).digest()


def to_bytes(answer: Answer) -> bytes:
    """Return an answer as it is kept: the length of its head, its head as JSON, its body."""
    headers = [[k.decode("latin-1"), v.decode("latin-1")] for k, v in answer.start["headers"]]
    head = json.dumps({"status": answer.start["status"], "headers": headers}).encode("ascii")
    return b"".join([len(head).to_bytes(_LENGTH_BYTES, "big"), head, *answer.body])


def from_bytes(content: bytes) -> Answer:
    """Return the answer that was kept as `content`."""
    body_at = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "big")
    head = json.loads(content[_LENGTH_BYTES:body_at])
    headers = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in head["headers"]]
    start = {"type": "http.response.start", "status": head["status"], "headers": headers}
    pieces = range(body_at, len(content), _PIECE_BYTES)
    return Answer(start, tuple(content[at : at + _PIECE_BYTES] for at in pieces))


async def _pause(seconds: float, has_no_waiter: asyncio.Event) -> None:
    """Wait; raise Cancelled if the last one who waits for the answer leaves meanwhile."""
    try:
        await asyncio.wait_for(has_no_waiter.wait(), seconds)
    except TimeoutError:
        return
    raise Cancelled("The client left before its answer was ready.")
