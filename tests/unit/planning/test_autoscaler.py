"""The autoscaler decides as a HorizontalPodAutoscaler with the chart's behaviour does."""

from __future__ import annotations

from service.planning.autoscaler import Autoscaler, AutoscalerOptions

OPTIONS = AutoscalerOptions(target_s=10.0, min_replicas=2, max_replicas=30, start_s=60.0)


def decisions(*observed):
    """Return what is decided for (work_s) one after the other, every 15 s, from two replicas."""
    scaler, replicas, found = Autoscaler(OPTIONS), 2, []
    for index, work_s in enumerate(observed):
        replicas = scaler.decide(15.0 * (index + 1), work_s, replicas)
        found.append(replicas)
    return found


def test_small_differences_change_nothing():
    assert decisions(21.9, 18.1) == [2, 2]


def test_it_grows_to_what_the_work_needs():
    assert decisions(31.0) == [4]


def test_it_doubles_at_most_within_half_a_minute():
    assert decisions(300.0, 300.0, 300.0, 300.0) == [4, 4, 8, 8]


def test_it_keeps_within_its_bounds():
    assert decisions(*[10_000.0] * 20)[-1] == 30
    assert decisions(*[0.0] * 40)[-1] == 2


def test_it_shrinks_only_when_nobody_has_wanted_more_for_five_minutes_and_then_one_a_minute():
    found = decisions(40.0, *[0.0] * 40)
    assert found[:21] == [4] * 21
    first = next(index for index, replicas in enumerate(found) if replicas < 4)
    assert found[first : first + 8] == [3, 3, 3, 3, 2, 2, 2, 2]
