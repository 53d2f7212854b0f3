"""Claims and answers in a table of PostgreSQL, so that replicas carry out a request once."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from service.database.claims import Answered, Claimed, InProgress
from service.database.schema import answers
from service.errors import LedgerFailed
from service.repetition import Repetition

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from service.database.database import Database

_LEASE_S = 15.0
_SWEEP_S = 60.0
# "mintmark" with its last bit turned: the lock under which one replica removes what has ended.
_SWEEP_LOCK = int.from_bytes(b"mintmark", "big") ^ 1

logger = logging.getLogger(__name__)


class AnswerTable:
    """The `SharedAnswers` of a PostgreSQL database.

    Times are the database's: the clocks of the replicas do not matter. `ttl_s`: how long an answer
    is kept. `max_bytes`: of all answers; what is larger is not kept, and the oldest ones go first.
    """

    def __init__(
        self, database: Database, ttl_s: float, max_bytes: int, lease_s: float = _LEASE_S
    ) -> None:
        self.lease_s = lease_s
        self._database = database
        self._ttl_s = ttl_s
        self._max_bytes = max_bytes

    def claim(self, key_sha256: bytes, request_sha256: bytes) -> Claimed | InProgress | Answered:
        """Return the claim, or what there is already under this key. Raises LedgerFailed."""
        claim = secrets.token_hex(16)
        values = {
            "request_sha256": request_sha256,
            "claim": claim,
            "content": None,
            "size_bytes": 0,
            "expires_at": _in_seconds(self.lease_s),
        }
        take = (
            insert(answers)
            .values(key_sha256=key_sha256, **values)
            .on_conflict_do_update(
                index_elements=[answers.c.key_sha256],
                set_=values,
                # Our own claim: this is the second attempt after a lost connection.
                where=(answers.c.expires_at <= func.now()) | (answers.c.claim == claim),
            )
            .returning(answers.c.claim)
        )
        look = select(answers.c.request_sha256, answers.c.content).where(
            answers.c.key_sha256 == key_sha256
        )

        def take_or_look(connection: Connection) -> Claimed | InProgress | Answered:
            if connection.execute(take).scalar() is not None:
                return Claimed(claim)
            found = connection.execute(look).one_or_none()
            if found is None:  # it has just been released
                return InProgress(request_sha256)
            if found.content is None:
                return InProgress(bytes(found.request_sha256))
            return Answered(bytes(found.request_sha256), bytes(found.content))

        return self._database.write(take_or_look)

    def renew(self, key_sha256: bytes, claim: str) -> None:
        """Let a claim count for another `lease_s`. Raises LedgerFailed."""
        renewal = update(answers).where(_is_claimed(key_sha256, claim))
        renewal = renewal.values(expires_at=_in_seconds(self.lease_s))
        self._database.write(lambda connection: connection.execute(renewal).close())

    def answer(self, key_sha256: bytes, claim: str, content: bytes) -> None:
        """Keep the answer, unless it is too large or somebody else has claimed the key since.

        Raises LedgerFailed.
        """
        if len(content) > self._max_bytes:
            self.release(key_sha256, claim)
            return
        keeping = update(answers).where(_is_claimed(key_sha256, claim))
        keeping = keeping.values(
            content=content, size_bytes=len(content), expires_at=_in_seconds(self._ttl_s)
        )
        self._database.write(lambda connection: connection.execute(keeping).close())

    def release(self, key_sha256: bytes, claim: str) -> None:
        """Give the key free: there is no answer worth keeping. Raises LedgerFailed."""
        release = delete(answers).where(_is_claimed(key_sha256, claim))
        self._database.write(lambda connection: connection.execute(release).close())

    def sweep(self) -> None:
        """Remove what has ended, and the oldest answers beyond `max_bytes`. Raises LedgerFailed."""
        total = func.sum(answers.c.size_bytes).over(
            order_by=(answers.c.expires_at.desc(), answers.c.key_sha256)
        )
        running = select(answers.c.key_sha256, answers.c.claim, total.label("total")).subquery()
        beyond = select(running.c.key_sha256, running.c.claim).where(
            running.c.total > self._max_bytes
        )
        row = tuple_(answers.c.key_sha256, answers.c.claim)

        def remove(connection: Connection) -> None:
            lock = select(func.pg_try_advisory_xact_lock(_SWEEP_LOCK))
            if connection.execute(lock).scalar():
                connection.execute(delete(answers).where(answers.c.expires_at <= func.now()))
                connection.execute(
                    delete(answers).where(answers.c.content.is_not(None), row.in_(beyond))
                )

        self._database.write(remove)


def answer_sweeper(table: AnswerTable, interval_s: float = _SWEEP_S) -> Repetition:
    """Return what removes ended answers, also while nobody asks for any."""

    def sweep() -> float:
        try:
            table.sweep()
        except LedgerFailed:
            logger.warning("ended answers could not be removed; trying again later")
        return interval_s

    return Repetition(sweep, "answer-sweeper")


def _is_claimed(key_sha256: bytes, claim: str) -> ColumnElement[bool]:
    """Match a claim that is still under way, whether or not its time is over."""
    return (
        (answers.c.key_sha256 == key_sha256)
        & (answers.c.claim == claim)
        & answers.c.content.is_(None)
    )


def _in_seconds(seconds: float) -> ColumnElement[object]:
    return func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
