"""Arrival processes: their rates, how bursty they are, and that a seed fixes them."""

from __future__ import annotations

import numpy as np
import pytest

from loadtests.harness.arrivals import Bursts, Constant, Gamma, Poisson, Ramp, Replay
from loadtests.harness.mix import Clients, Profile, Workload, plan_requests

PROCESSES = [
    Constant(5.0),
    Poisson(5.0),
    Gamma(5.0, 0.5),
    Gamma(5.0, 3.0),
    Bursts(2.0, 20.0, 10.0, 2.0),
    Ramp(1.0, 9.0, 4),
]
DURATION_S = 4000.0


def times_of(process, seed: int = 1, duration_s: float = DURATION_S):
    return process.times_s(duration_s, np.random.default_rng(seed))


def cv_of(gaps) -> float:
    return float(np.std(gaps) / np.mean(gaps))


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_times_are_ascending_within_the_run_and_fixed_by_the_seed(process):
    times = times_of(process)
    assert np.all(np.diff(times) >= 0)
    assert times[0] >= 0
    assert times[-1] < DURATION_S
    assert np.array_equal(times, times_of(process))


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_the_mean_rate_is_the_one_that_the_stages_state(process):
    stages = process.stages(DURATION_S)
    stated = sum(stage.rate_per_s * (stage.ends_s - stage.begins_s) for stage in stages)
    assert stages[0].begins_s == 0
    assert stages[-1].ends_s == DURATION_S
    assert len(times_of(process)) == pytest.approx(stated, rel=0.06)


@pytest.mark.parametrize("process", PROCESSES[1:], ids=repr)
def test_another_seed_gives_other_times(process):
    assert not np.array_equal(times_of(process)[:50], times_of(process, seed=2)[:50])


@pytest.mark.parametrize(
    ("process", "cv"),
    [(Constant(5.0), 0.0), (Poisson(5.0), 1.0), (Gamma(5.0, 0.5), 0.5), (Gamma(5.0, 3.0), 3.0)],
    ids=repr,
)
def test_gaps_vary_as_much_as_stated(process, cv):
    assert cv_of(np.diff(times_of(process))) == pytest.approx(cv, abs=0.02, rel=0.05)


def test_bursts_are_burstier_than_poisson_over_windows_but_not_within_a_state():
    """Counts of a Poisson process vary as much as their mean; these vary by the states as well."""
    edges = np.arange(0, DURATION_S + 1, 5.0)
    bursts, _ = np.histogram(times_of(PROCESSES[4]), edges)
    poisson, _ = np.histogram(times_of(Poisson(5.0)), edges)
    assert np.var(poisson) / np.mean(poisson) == pytest.approx(1.0, abs=0.15)
    assert np.var(bursts) / np.mean(bursts) > 8


def test_each_stair_of_a_ramp_has_its_own_rate():
    process = Ramp(1.0, 9.0, 3)
    times = times_of(process, duration_s=3000.0)
    stages = process.stages(3000.0)
    assert [stage.rate_per_s for stage in stages] == [1.0, 5.0, 9.0]
    for stage in stages:
        count = np.sum((times >= stage.begins_s) & (times < stage.ends_s))
        assert count / 1000 == pytest.approx(stage.rate_per_s, rel=0.08)


def test_a_replay_is_sorted_sped_up_and_cut_off():
    assert times_of(Replay((4.0, 1.0, 30.0), speed=2.0), duration_s=10.0).tolist() == [0.5, 2.0]


def plan_of(seed: int = 1, **workload):
    profiles = workload.pop("profiles", (Profile(name="a", weight=3.0), Profile(name="b", n=2)))
    return plan_requests(
        Poisson(20.0),
        Workload(profiles, ("one", "two"), **workload),
        duration_s=400.0,
        seed=seed,
    )


def test_a_plan_is_fixed_by_its_seed():
    assert plan_of() == plan_of()
    assert plan_of() != plan_of(seed=2)


def test_another_mix_keeps_the_times():
    other = plan_of(profiles=(Profile(name="c"),))
    assert [each.due_s for each in other] == [each.due_s for each in plan_of()]


def test_profiles_and_behaviours_come_in_their_shares():
    clients = Clients(leave_share=0.2, leave_within_s=3.0, slow_share=0.1, slow_bytes_per_s=1000)
    requests = [each.request for each in plan_of(clients=clients)]
    count = len(requests)
    leavers = [each for each in requests if each.leave_after_s is not None]
    slow = [each for each in requests if each.read_bytes_per_s is not None]
    assert sum(each.profile == "a" for each in requests) / count == pytest.approx(0.75, abs=0.02)
    assert len(leavers) / count == pytest.approx(0.2, abs=0.02)
    assert len(slow) / count == pytest.approx(0.1, abs=0.02)
    assert all(0 < each.leave_after_s <= 3.0 for each in leavers)
    assert not set(map(id, leavers)) & set(map(id, slow))
    assert len({each.seed for each in requests}) == count


def test_a_trace_says_which_profile_and_draws_where_it_does_not():
    plan = plan_of(trace_profiles=("b", "", "b"))
    drawn = plan_of()
    assert [each.request.profile for each in plan[:3:2]] == ["b", "b"]
    assert plan[1] == drawn[1]
    assert plan[3:] == drawn[3:]
