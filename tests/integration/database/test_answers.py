"""Claims and answers in PostgreSQL: one owner at a time, and nothing stays for ever."""

from __future__ import annotations

import threading
import time

import pytest

from service.database.answers import AnswerTable, answer_sweeper
from service.database.claims import Answered, Claimed, InProgress

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
REQUEST, OTHER_REQUEST = b"r" * 32, b"s" * 32


@pytest.fixture
def table(database):
    return AnswerTable(database, ttl_s=60, max_bytes=1000)


def claimed(table: AnswerTable, key: bytes) -> str:
    found = table.claim(key, REQUEST)
    assert isinstance(found, Claimed)
    return found.claim


def kept(postgres, name):
    return {bytes(key) for (key,) in postgres.execute("SELECT key_sha256 FROM answers", name)}


def test_one_claims_and_the_others_are_told_what_is_under_way(table):
    assert isinstance(table.claim(KEY, REQUEST), Claimed)
    assert table.claim(KEY, REQUEST) == InProgress(REQUEST)
    assert table.claim(KEY, OTHER_REQUEST) == InProgress(REQUEST)
    assert isinstance(table.claim(OTHER_KEY, REQUEST), Claimed)


def test_of_many_who_claim_at_once_one_does(table):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(table.claim(KEY, REQUEST))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert sum(isinstance(each, Claimed) for each in found) == 1


def test_an_answer_is_given_to_everyone_byte_by_byte(table):
    claim = claimed(table, KEY)
    table.answer(KEY, claim, b"\x00answer\xff")
    for _ in range(2):
        assert table.claim(KEY, OTHER_REQUEST) == Answered(REQUEST, b"\x00answer\xff")


def test_a_released_key_may_be_claimed_for_another_request(table):
    table.release(KEY, claimed(table, KEY))
    assert isinstance(table.claim(KEY, OTHER_REQUEST), Claimed)


def test_a_claim_that_is_not_renewed_goes_to_the_next_and_its_owner_changes_nothing(database):
    table = AnswerTable(database, ttl_s=60, max_bytes=1000, lease_s=0.2)
    late = claimed(table, KEY)
    time.sleep(0.3)
    taken = table.claim(KEY, OTHER_REQUEST)
    assert isinstance(taken, Claimed)
    table.answer(KEY, late, b"late")
    table.release(KEY, late)
    table.renew(KEY, late)
    table.answer(KEY, taken.claim, b"right")
    assert table.claim(KEY, REQUEST) == Answered(OTHER_REQUEST, b"right")


def test_a_renewed_claim_counts_on(database):
    table = AnswerTable(database, ttl_s=60, max_bytes=1000, lease_s=1.0)
    claim = claimed(table, KEY)
    for _ in range(3):
        time.sleep(0.4)
        table.renew(KEY, claim)
    assert table.claim(KEY, REQUEST) == InProgress(REQUEST)


def test_an_answer_ends(database):
    table = AnswerTable(database, ttl_s=0.2, max_bytes=1000)
    table.answer(KEY, claimed(table, KEY), b"x")
    time.sleep(0.3)
    assert isinstance(table.claim(KEY, REQUEST), Claimed)


def test_what_is_too_large_is_not_kept(table):
    table.answer(KEY, claimed(table, KEY), b"x" * 1001)
    assert isinstance(table.claim(KEY, REQUEST), Claimed)


def test_a_sweep_removes_what_has_ended_and_the_oldest_answers_beyond_the_size(
    postgres, name, database
):
    short = AnswerTable(database, ttl_s=0.05, max_bytes=1000, lease_s=0.05)
    short.claim(b"1" * 32, REQUEST)
    short.answer(b"2" * 32, claimed(short, b"2" * 32), b"x")
    table = AnswerTable(database, ttl_s=60, max_bytes=1000)
    for key in (b"3", b"4", b"5"):
        table.answer(key * 32, claimed(table, key * 32), b"x" * 400)
    table.claim(b"6" * 32, REQUEST)
    time.sleep(0.1)
    table.sweep()
    assert kept(postgres, name) == {b"4" * 32, b"5" * 32, b"6" * 32}


def test_the_sweeper_also_sweeps_while_nobody_asks(postgres, name, database):
    table = AnswerTable(database, ttl_s=0.05, max_bytes=1000)
    table.answer(KEY, claimed(table, KEY), b"x")
    sweeper = answer_sweeper(table, interval_s=0.05)
    sweeper.start()
    ends_at_s = time.monotonic() + 20
    while kept(postgres, name) and time.monotonic() < ends_at_s:
        time.sleep(0.02)
    sweeper.stop()
    assert kept(postgres, name) == set()


def test_the_sweeper_outlives_a_database_that_is_away(postgres, name, database):
    table = AnswerTable(database, ttl_s=0.05, max_bytes=1000)
    table.answer(KEY, claimed(table, KEY), b"x")
    postgres.execute("ALTER TABLE answers RENAME TO away", name)
    sweeper = answer_sweeper(table, interval_s=0.05)
    sweeper.start()
    time.sleep(0.2)
    postgres.execute("ALTER TABLE away RENAME TO answers", name)
    ends_at_s = time.monotonic() + 20
    while kept(postgres, name) and time.monotonic() < ends_at_s:
        time.sleep(0.02)
    sweeper.stop()
    assert kept(postgres, name) == set()
