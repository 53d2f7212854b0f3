"""What the front-door benchmark concludes from what it has seen."""

from __future__ import annotations

import asyncio

import pytest

from loadtests.bench_front_cancel import Leaver, judge
from loadtests.bench_front_load import Sample, drive, percentile
from loadtests.bench_front_report import medians, overheads


def step(began_s: float, lasts_s: float = 0.005):
    return ("StepDone", began_s + lasts_s, {"step_s": lasts_s})


def finished(request_id: str, at_s: float):
    return ("Finished", at_s, {"request_id": request_id, "outcome": "cancelled"})


def queued(request_id: str, at_s: float):
    return ("Queued", at_s, {"request_id": request_id})


def test_steps_are_counted_from_the_leaving_to_the_end_and_beyond():
    leavers = [Leaver("gRPC", "a", 10.0), Leaver("gRPC", "b", 20.0), Leaver("gRPC", "c", 30.0)]
    events = [
        queued("a", 9.0),
        step(9.998),  # in flight when its client left
        step(10.003),
        finished("a", 10.009),
        queued("b", 19.0),
        step(19.999),
        finished("b", 20.005),
        step(20.006),  # for nobody
        queued("d", 25.0),
        step(25.1),  # somebody else's
    ]
    found = judge(leavers, events, 0)["doors"]["gRPC"]
    assert (found["left"], found["reached_the_engine"]) == (3, 2)
    assert found["steps_begun_after_leaving"] == {"0": 1, "1": 1}
    assert found["steps_begun_after_the_end"] == 1
    assert found["outcomes"] == {"cancelled": 2}
    assert found["freed_after_ms_max"] == pytest.approx(9.0)


def test_a_front_door_is_compared_with_the_engine_and_with_its_own_echo():
    found = {
        "engine": Sample(1.0, 2.0, 0.0, 0.0),
        "HTTP": Sample(3.0, 8.0, 0.0, 0.0),
        "HTTP inside BentoML": Sample(4.0, 9.0, 0.0, 0.0),
        "HTTP echo": Sample(1.5, 4.0, 0.0, 0.0),
    }
    over = overheads(found)
    assert set(over) == {"HTTP", "HTTP inside BentoML"}
    assert over["HTTP"] == {
        "over_engine_p50_ms": 2.0,
        "over_engine_p99_ms": 6.0,
        "ours_p50_ms": 0.5,
        "times_echo_p50": 2.0,
        "times_echo_p99": 2.0,
    }


def test_medians_are_taken_of_each_figure():
    samples = [Sample(1.0, 9.0, 5.0, 0.1), Sample(2.0, 7.0, 6.0, 0.3), Sample(3.0, 8.0, 4.0, 0.2)]
    assert medians(samples) == Sample(2.0, 8.0, 5.0, 0.2)


def test_percentiles_are_values_that_were_seen():
    values = [float(value) for value in range(100, 0, -1)]
    assert (percentile(values, 0.5), percentile(values, 0.99)) == (51.0, 100.0)
    assert percentile([3.0], 0.99) == 3.0


async def test_paced_requests_are_timed_from_when_they_were_due():
    async def slow() -> None:
        await asyncio.sleep(0.02)

    taken, _ = await drive([slow], 5, rate_per_s=200.0)  # one connection, 5 ms apart
    assert len(taken) == 5
    # Each waits for the ones before it: 20 ms each, due every 5.
    assert taken == sorted(taken)
    assert taken[-1] >= 0.07


async def test_all_connections_share_the_requests():
    asked = [0, 0]

    def asking(index):
        async def ask() -> None:
            asked[index] += 1
            await asyncio.sleep(0.001)

        return ask

    taken, _ = await drive([asking(0), asking(1)], 10, rate_per_s=None)
    assert len(taken) == sum(asked) == 10
    assert min(asked) > 0
