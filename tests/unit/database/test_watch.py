"""Whether the database answers is known without asking it, and changes with good reason only."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import pytest

from service.database.watch import DatabaseWatch
from service.errors import LedgerFailed, LedgerUnavailable
from tests.factories import FakeClock

LONGEST_S = 20.0


class FakeDatabase:
    """Answers, or fails, after as long as it was told to take."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.is_there = True
        self.takes_s = 0.0
        self.checks = 0
        self.meanwhile = lambda: None

    def check(self) -> None:
        self.checks += 1
        self._clock.now_s += self.takes_s
        self.meanwhile()
        if not self.is_there:
            raise LedgerFailed("away")


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def database(clock):
    return FakeDatabase(clock)


@pytest.fixture
def watch(database, clock):
    return DatabaseWatch(database.check, longest_check_s=LONGEST_S, clock=clock)


def found(watch, database, answers):
    """Return whether it counts as there after each of `answers`."""
    states = []
    for database.is_there in answers:
        watch.look()
        states.append(watch.refusal() is None)
    return states


def test_it_is_there_at_first_and_nobody_asks_it_to_say_so(watch, database):
    assert watch.refusal() is None
    assert database.checks == 0


def test_it_is_away_after_two_failures_in_a_row_and_back_after_two_answers(watch, database):
    answers = [False, True, False, False, False, True, False, True, True]
    expected = [True, True, True, False, False, False, False, False, True]
    assert found(watch, database, answers) == expected


def test_the_refusal_can_be_retried_and_says_when(watch, database):
    found(watch, database, [False, False])
    refusal = watch.refusal()
    assert isinstance(refusal, LedgerUnavailable)
    assert refusal.message == "The ledger's database does not answer."
    assert refusal.retry_after_s == 4.0


def test_a_slow_answer_turns_nobody_away(watch, database):
    database.takes_s = LONGEST_S
    assert found(watch, database, [True, True, True]) == [True, True, True]


def test_a_check_that_hangs_is_a_failure_while_it_does_and_for_two_answers_more(watch, database):
    told = []
    database.takes_s = LONGEST_S + 1
    database.meanwhile = lambda: told.append(watch.refusal())
    assert found(watch, database, [True]) == [False]
    database.takes_s = 0.0
    assert found(watch, database, [True, True]) == [False, True]
    assert [refusal is None for refusal in told] == [False, False, False]


@contextmanager
def started(check, **options):
    watch = DatabaseWatch(check, **options)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()


def test_it_asks_by_itself_until_it_is_stopped():
    asked = threading.Semaphore(0)
    with started(asked.release, interval_s=0.01) as watch:
        for _ in range(3):
            assert asked.acquire(timeout=10)
        assert watch.refusal() is None
    while asked.acquire(blocking=False):
        pass
    assert not asked.acquire(timeout=0.1)


def test_a_check_that_hangs_holds_up_neither_a_probe_nor_the_end():
    asked, may_end = threading.Event(), threading.Event()

    def hang() -> None:
        asked.set()
        assert may_end.wait(30)

    with started(hang, interval_s=0.01, longest_check_s=0.0) as watch:
        assert asked.wait(10)
        began_s = time.monotonic()
        assert watch.refusal() is not None
    assert time.monotonic() - began_s < 10
    may_end.set()
