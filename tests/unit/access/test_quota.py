"""Rates, counts and engine time, each caller on its own account."""

from __future__ import annotations

import time

import pytest

from service.access.caller import Caller, CallerLimits
from service.access.quota import Quota
from service.errors import RateLimited
from tests.factories import FakeClock


def caller(name="app", **limits):
    return Caller(name, frozenset(), CallerLimits(**limits))


def count(quota, who, calls):
    """Return how many of `calls` were let through."""
    through = 0
    for _ in range(calls):
        try:
            quota.count_call(who)
            through += 1
        except RateLimited:
            pass
    return through


def test_calls_beyond_the_rate_are_refused_with_the_time_until_one_is_free():
    quota, who = Quota(), caller(requests_per_minute=3)
    assert count(quota, who, 10) == 3
    with pytest.raises(RateLimited) as refused:
        quota.count_call(who)
    assert refused.value.retry_after_s == pytest.approx(60, abs=1)


def test_the_wait_that_is_told_is_the_wait_there_is():
    quota, who = Quota(window_s=1), caller(requests_per_minute=2)
    assert count(quota, who, 2) == 2
    with pytest.raises(RateLimited) as refused:
        quota.count_call(who)
    wait_s = refused.value.retry_after_s
    assert wait_s is not None
    assert 0.5 < wait_s <= 1.0
    time.sleep(wait_s + 0.01)
    assert count(quota, who, 3) == 2


def test_callers_do_not_use_up_each_others_rate():
    quota = Quota()
    assert count(quota, caller("a", requests_per_minute=2), 5) == 2
    assert count(quota, caller("b", requests_per_minute=2), 5) == 2


def test_a_caller_without_a_rate_is_never_refused():
    assert count(Quota(), caller(), 1000) == 1000


def test_generations_at_once_are_bounded_and_freed():
    quota, who = Quota(), caller(concurrent_requests=2)
    with quota.hold(who, 0), quota.hold(who, 0):
        with pytest.raises(RateLimited, match="2 generations"), quota.hold(who, 0):
            pass
        with quota.hold(caller("b", concurrent_requests=1), 0):
            pass
    with quota.hold(who, 0):
        pass


def test_a_failed_generation_is_freed_too():
    quota, who = Quota(), caller(concurrent_requests=1)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), quota.hold(who, 0):
            raise ValueError("broken")


def test_the_wait_for_a_place_is_what_is_left_of_the_next_to_end():
    clock = FakeClock()
    quota, who = Quota(clock), caller(concurrent_requests=2)
    with quota.hold(who, 30), quota.hold(who, 10):
        clock.now_s += 4
        with pytest.raises(RateLimited) as refused, quota.hold(who, 1):
            pass
    assert refused.value.retry_after_s == pytest.approx(6)


def test_engine_time_under_way_is_bounded():
    clock = FakeClock()
    quota, who = Quota(clock), caller(queued_seconds=10)
    with quota.hold(who, 8):
        with pytest.raises(RateLimited, match="10 s of work") as refused, quota.hold(who, 5):
            pass
        assert refused.value.retry_after_s == pytest.approx(3)
        clock.now_s += 3  # what has been worked off no longer counts
        with quota.hold(who, 5):
            pass


def test_a_request_larger_than_the_account_is_served_alone():
    quota, who = Quota(), caller(queued_seconds=10)
    with quota.hold(who, 100), pytest.raises(RateLimited), quota.hold(who, 1):
        pass


def test_work_that_takes_longer_than_thought_counts_as_none_left_but_keeps_its_place():
    clock = FakeClock()
    quota, who = Quota(clock), caller(queued_seconds=10, concurrent_requests=2)
    with quota.hold(who, 5):
        clock.now_s += 60
        with quota.hold(who, 10), pytest.raises(RateLimited, match="2 gen"), quota.hold(who, 0):
            pass
