"""Profiles, workloads, arrivals, scenarios and objectives are read strictly."""

from __future__ import annotations

import json

import numpy as np
import pytest

from service.engine.options import EngineOptions
from service.errors import ConfigurationError
from service.planning.arrivals import parse_arrivals
from service.planning.objective import Limit, parse_objective
from service.planning.outcome import Figures
from service.planning.profile import read_profile, write_profile
from service.planning.scenario import read_scenario
from service.planning.workload import default_kind, parse_kind, price
from tests.unit.planning.kit import make_profile, make_shape

RNG = np.random.default_rng


def test_a_profile_survives_its_file(tmp_path):
    profile = make_profile(make_shape(), make_shape(96, 64))
    write_profile(profile, tmp_path / "profile.json")
    assert read_profile(tmp_path / "profile.json") == profile


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"colour": "red"}, "colour"),
        ({"format": "mintmark-profile/2"}, "format"),
        ({"load_s": "20"}, "load_s"),
        ({"load_s": 0.0}, "load_s"),
        ({"measured_at": "2026-01-02T03:04:05"}, "measured_at"),
        ({"shapes": []}, "shapes"),
    ],
)
def test_a_profile_that_is_not_one_is_refused_by_name(tmp_path, change, where):
    content = json.loads(make_profile().model_dump_json()) | change
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigurationError, match=rf"profile\.json is no profile .* at {where}"):
        read_profile(path)


def test_shapes_that_contradict_themselves_are_refused():
    with pytest.raises(ValueError, match="rows must ascend"):
        make_shape(curve=((4, 0.1), (2, 0.2)))
    with pytest.raises(ValueError, match="twice"):
        make_profile(make_shape(), make_shape())


def test_between_measured_batches_times_lie_on_a_line_and_none_are_made_up_beyond():
    shape = make_shape(curve=((2, 0.02), (4, 0.03), (16, 0.09)))
    assert [shape.step_s(rows) for rows in (1, 2, 3, 10, 16)] == pytest.approx(
        [0.02, 0.02, 0.025, 0.06, 0.09]
    )
    with pytest.raises(ValueError, match="17 rows"):
        shape.step_s(17)


def test_a_larger_picture_takes_more_of_the_budget_and_so_fits_less_often():
    profile = make_profile(make_shape(), make_shape(128, 64))
    kinds = [parse_kind(text, default_kind(profile)) for text in ("", "size=128x64,guided=no")]
    small, large = price(profile, kinds, EngineOptions(max_batch_rows=16))
    assert (small.most_images, small.budget, len(small.step_s)) == (8, 2.0, 17)
    assert (large.most_images, large.budget, len(large.step_s)) == (8, 2.0, 9)
    assert small.key != large.key


def test_padded_calls_cost_what_the_full_one_does():
    profile = make_profile()
    options = EngineOptions(max_batch_rows=16, pin_batch_rows=True)
    (costs,) = price(profile, [default_kind(profile)], options)
    assert set(costs.step_s[1:]) == {0.09}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (EngineOptions(max_batch_rows=32), "--max-rows 32"),
        (EngineOptions(max_batch_rows=20, pin_batch_rows=True), "--pin-batch-rows"),
    ],
)
def test_a_batch_that_was_not_measured_is_not_guessed(options, text):
    profile = make_profile()
    with pytest.raises(ConfigurationError, match=text):
        price(profile, [default_kind(profile)], options)


def test_a_size_that_was_not_measured_is_not_guessed():
    profile = make_profile()
    kind = parse_kind("size=32x32", default_kind(profile))
    with pytest.raises(ConfigurationError, match="only for 64x64"):
        price(profile, [kind], EngineOptions())


def test_a_kind_says_what_differs_from_the_default():
    default = default_kind(make_profile())
    kind = parse_kind("steps=4, images=3,guided=no,weight=2.5", default)
    assert (kind.steps, kind.num_images, kind.is_guided, kind.weight) == (4, 3, False, 2.5)
    assert (kind.width_px, kind.height_px) == (64, 64)


@pytest.mark.parametrize("text", ["stps=4", "steps=0", "steps=x", "size=big", "weight=-1", "4"])
def test_a_kind_that_says_nonsense_is_refused(text):
    with pytest.raises(ConfigurationError):
        parse_kind(text, default_kind(make_profile()))


@pytest.mark.parametrize(
    ("spec", "rate"),
    [
        ("poisson:5", 5.0),
        ("paced:5", 5.0),
        ("gamma:5,3", 5.0),
        ("bursts:2,20,30,6", 5.0),
        ("ramp:2,8", 5.0),
    ],
)
def test_arrivals_come_in_order_within_the_time_at_their_rate(spec, rate):
    process = parse_arrivals(spec)
    assert process.mean_rate_per_s == pytest.approx(rate)
    times = process.times(40_000.0, RNG(4))
    assert (np.diff(times) >= 0).all()
    assert times[0] >= 0
    assert times[-1] < 40_000
    assert len(times) / 40_000 == pytest.approx(rate, rel=0.06)


def test_arrivals_vary_as_much_as_they_say():
    for spec, cv in (("poisson:5", 1.0), ("paced:5", 0.0), ("gamma:5,3", 3.0)):
        gaps = np.diff(parse_arrivals(spec).times(8000.0, RNG(4)))
        assert gaps.std() / gaps.mean() == pytest.approx(cv, abs=0.15)
    gaps = np.diff(parse_arrivals("bursts:2,20,30,6").times(8000.0, RNG(4)))
    assert gaps.std() / gaps.mean() > 1.3
    ramp = parse_arrivals("ramp:2,8").times(8000.0, RNG(4))
    assert (ramp < 4000).mean() == pytest.approx(3.5 / 10, abs=0.02)


def test_a_trace_is_replayed_from_its_first_moment(tmp_path):
    (tmp_path / "plain").write_text("12.5\n11\n14\n")
    (tmp_path / "lines").write_text('{"at_s": 1, "profile": "x"}\n{"at_s": 3}\n')
    process = parse_arrivals(f"trace:{tmp_path}/plain")
    assert process.times(100.0, RNG(0)).tolist() == [0.0, 1.5, 3.0]
    assert process.length_s == pytest.approx(4.0)
    assert parse_arrivals(f"trace:{tmp_path}/lines").mean_rate_per_s == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "spec",
    ["poisson", "poisson:0", "poisson:inf", "gamma:5", "ramp:1,2,3", "tide:4", "trace:nowhere"],
)
def test_arrivals_that_say_nonsense_are_refused(spec):
    with pytest.raises(ConfigurationError):
        parse_arrivals(spec)


SCENARIO = """
name = "x"
duration_s = 20.0
[arrivals]
kind = "bursts"
calm_rate_per_s = 2.0
burst_rate_per_s = 20.0
mean_calm_s = 30.0
mean_burst_s = 6.0
[[mix]]
name = "a"
num_inference_steps = 4
weight = 3
[[mix]]
name = "b"
n = 2
guidance_scale = 1.0
[budgets]
p99_s = 3.0
"""


def test_a_load_tests_scenario_gives_its_arrivals_and_its_mix(tmp_path):
    path = tmp_path / "scenario.toml"
    path.write_text(SCENARIO)
    process, (first, second) = read_scenario(path, default_kind(make_profile()))
    assert process.mean_rate_per_s == pytest.approx(5.0)
    assert (first.steps, first.weight, first.is_guided) == (4, 3.0, True)
    assert (second.steps, second.num_images, second.is_guided) == (20, 2, False)
    path.write_text(SCENARIO.replace("mean_calm_s = 30.0", ""))
    with pytest.raises(ConfigurationError, match="mean_calm_s"):
        read_scenario(path, default_kind(make_profile()))


def test_every_scenario_that_ships_can_be_planned_for():
    from pathlib import Path

    folder = Path(__file__).parents[3] / "loadtests" / "scenarios"
    found = sorted(folder.glob("*.toml"))
    assert found
    for path in found:
        process, kinds = read_scenario(path, default_kind(make_profile()))
        assert process.mean_rate_per_s > 0
        assert kinds


def figures(seconds, goodput=1.0):
    latencies_s = np.sort(np.array(seconds, np.float64))
    return Figures(len(seconds), latencies_s, goodput, 0.0, 0.0, 1.0, 1.0, 1)


def test_percentiles_are_values_that_were_seen():
    found = figures(range(1, 101))
    assert [found.percentile_s(percent) for percent in (50, 95, 99, 99.9)] == [50, 95, 99, 100]
    assert figures([]).percentile_s(50) == float("inf")


def test_an_objective_is_read_as_it_is_written():
    objective = parse_objective("p99<=3s, p50 <= 800ms,goodput>=99.5%, refusals<=1%")
    assert str(objective) == "p99<=3s, p50<=0.8s, goodput>=99.5%, refusals<=1%"
    assert objective.latency_s == 3.0
    assert objective.allowed("refusals", 0.5) == 0.01


@pytest.mark.parametrize("text", ["", "p99<3s", "p99<=3", "p100<=3s", "goodput<=99%", "fast"])
def test_an_objective_that_says_nonsense_is_refused(text):
    with pytest.raises(ConfigurationError):
        parse_objective(text)


def test_a_condition_holds_only_with_confidence():
    steady = [figures([1.0]), figures([1.1]), figures([0.9])]
    shaky = [figures([0.1]), figures([2.8]), figures([0.1])]
    limit = Limit("p99", 1.5)
    assert limit.holds(steady)
    assert limit.estimate(shaky)[0] < 1.5
    assert not limit.holds(shaky)
    # Student's t for two degrees of freedom: 2.920 standard errors.
    assert limit.estimate(steady)[1] == pytest.approx(1.0 + 2.920 * 0.1 / 3**0.5)
