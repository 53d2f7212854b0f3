"""Percentiles, goodput and what counts for them."""

from __future__ import annotations

import pytest

from loadtests.harness.mix import Profile
from loadtests.harness.objective import (
    CalibrationFailed,
    Scaled,
    measure_alone,
    objectives_of,
    work_units,
)
from loadtests.harness.request import Kind, Outcome, kind_of_status
from loadtests.harness.statistics import Window, figures_of, latency_of, percentile
from loadtests.result import diffusion_benchmark, knee_of
from tests.unit.loadtests.makers import AnswersAfter, make_sample
from tests.unit.loadtests.virtual_time import run_virtually

WINDOW = Window(0.0, 10.0)


def figures(samples, window, objectives_s):
    return figures_of(samples, window, objectives_s)


def told_of(found, **facts):
    return diffusion_benchmark(found, **facts)


def summary(values_s):
    return latency_of(values_s)


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.01, 1.0), (0.05, 1.0), (0.5, 10.0), (0.51, 11.0), (0.95, 19.0), (0.951, 20.0), (1.0, 20.0)],
)
def test_a_percentile_is_the_smallest_value_that_enough_do_not_exceed(share, expected):
    assert percentile([float(each) for each in range(1, 21)], share) == expected


def test_every_percentile_of_one_value_is_that_value():
    latency = summary([0.25])
    assert (latency.p50_s, latency.p99_s, latency.max_s, latency.mean_s) == (0.25,) * 4


def test_nothing_measured_has_no_latency():
    assert latency_of([]) is None


def sample(due_s: float, latency_s: float, kind: Kind = Kind.DONE, **overrides):
    pictures = 1 if kind is Kind.DONE else 0
    values = {"due_s": due_s, "sent_s": due_s, "done_s": due_s + latency_s, "kind": kind}
    return make_sample(**{"pictures": pictures} | values | overrides)


def test_goodput_counts_what_was_answered_in_time_and_attainment_also_what_was_not():
    samples = [
        sample(1.0, 0.5),
        sample(2.0, 1.0),  # in time to the last
        sample(3.0, 1.1),
        sample(4.0, 0.1, Kind.REFUSED),
        sample(5.0, 0.1, Kind.FAILED),
        sample(6.0, 3.0, Kind.TIMED_OUT),
        sample(7.0, 0.0, Kind.OVERFLOW),
        sample(8.0, 0.2, is_patient=False),
    ]
    found = figures(samples, WINDOW, {"p": 1.0})
    assert (found.offered, found.judged, found.within_objective) == (8, 7, 2)
    assert found.attainment == pytest.approx(2 / 7)
    assert found.goodput_per_s == pytest.approx(0.2)
    assert found.kinds["done"] == 4


def test_a_client_that_gave_up_counts_with_the_time_it_waited():
    samples = [sample(1.0, 0.5), sample(2.0, 9.0, Kind.TIMED_OUT)]
    latency = figures(samples, WINDOW, {}).latency
    assert (latency.count, latency.censored, latency.max_s) == (2, 1, 9.0)


def test_refusals_and_impatient_clients_have_no_part_in_latency():
    samples = [
        sample(1.0, 0.5),
        sample(2.0, 0.01, Kind.REFUSED),
        sample(3.0, 8.0, is_patient=False),
    ]
    latency = figures(samples, WINDOW, {}).latency
    assert (latency.count, latency.max_s) == (1, 0.5)


def test_the_warm_up_does_not_count_but_its_late_pictures_do():
    """Work of the window is what was finished in it, whenever it was asked for."""
    samples = [sample(1.0, 2.0, pictures=4), sample(6.0, 1.0), sample(9.5, 1.0)]
    found = figures(samples, Window(2.0, 10.0), {})
    assert found.offered == 2
    assert found.pictures == 5
    assert found.pictures_per_s == pytest.approx(5 / 8)
    assert found.requests_per_s == pytest.approx(2 / 8)


def test_latency_is_since_due_and_service_since_sent():
    found = figures([make_sample(due_s=1.0, sent_s=1.5, done_s=2.0)], WINDOW, {})
    assert (found.latency.p50_s, found.service.p50_s) == (1.0, 0.5)


def test_an_empty_window_claims_nothing():
    found = figures([], WINDOW, {"p": 1.0})
    assert (found.latency, found.attainment, found.goodput_per_s) == (None, None, 0.0)


def stage(rate: int, good: int):
    samples = [sample(1.0, 0.5 if index < good else 5.0) for index in range(rate * 10)]
    return figures(samples, WINDOW, {"p": 1.0})


def test_the_knee_is_the_last_rate_before_the_first_miss():
    stages = [stage(1, 10), stage(2, 20), stage(3, 10), stage(4, 40)]
    assert knee_of(stages) == 2.0
    assert knee_of(stages[2:]) is None


def test_the_same_run_in_the_names_of_the_diffusion_benchmarks():
    samples = [
        make_sample(due_s=1.0, sent_s=1.5, done_s=2.0),
        sample(2.0, 4.0),
        sample(3.0, 0.1, Kind.REFUSED),
        sample(4.0, 0.1, Kind.LEFT, is_patient=False),
    ]
    found = figures(samples, WINDOW, {"p": 2.0})
    told = told_of(found, slo_scale=3.0, has_objective=True, backend="x")
    assert (told.completed_requests, told.failed_requests) == (2, 1)
    assert told.latency_p50 == told.latency_median == 0.5  # since it was sent
    assert told.slo_met_success == 1
    assert told.slo_attainment_rate == pytest.approx(1 / 3)
    assert told.throughput_qps == pytest.approx(0.2)


PROFILES = (
    Profile(name="short", num_inference_steps=4, size_px=(64, 64)),
    Profile(name="long", num_inference_steps=40, size_px=(64, 64), n=2),
)


def test_an_objective_is_a_multiple_of_what_a_profile_takes_alone():
    target = AnswersAfter(lambda now_s: 9.0 if now_s == 0 else 0.5)  # the first warms up
    alone_s = run_virtually(measure_alone(target, PROFILES, "a red apple", repeats=3))
    assert alone_s == pytest.approx({"short": 0.5, "long": 0.5})
    assert len(target.asked_at_s) == 8
    assert objectives_of(alone_s, PROFILES, Scaled(3.0)) == pytest.approx(
        {"short": 1.5, "long": 1.5}
    )


def test_a_linear_objective_grows_with_steps_area_and_pictures():
    assert work_units(PROFILES[0]) == 4 * 16
    assert work_units(PROFILES[1]) == 40 * 16 * 2
    found = objectives_of({"short": 0.64, "long": 12.8}, PROFILES, Scaled(2.0, "linear"))
    assert found == pytest.approx({"short": 1.28, "long": 25.6})


def test_nothing_is_scaled_from_a_request_that_failed():
    target = AnswersAfter(lambda _: 0.1, Outcome(kind=Kind.REFUSED, code="queue_full"))
    with pytest.raises(CalibrationFailed, match=r"'short'.*refused queue_full"):
        run_virtually(measure_alone(target, PROFILES, "a red apple", repeats=1))


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (429, "rate_limited", Kind.REFUSED),
        (503, "queue_full", Kind.REFUSED),
        (503, "", Kind.REFUSED),
        (503, "device_out_of_memory", Kind.FAILED),
        (503, "storage_failed", Kind.FAILED),
        (400, "invalid_request", Kind.FAILED),
        (500, "signing_failed", Kind.FAILED),
        (504, "deadline_exceeded", Kind.FAILED),
    ],
)
def test_turned_away_before_any_work_is_refused_and_the_rest_has_failed(status, code, kind):
    assert kind_of_status(status, code) is kind
