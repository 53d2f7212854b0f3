"""The planner's answer: enough, cheapest, or a sentence that says why there is none."""

from __future__ import annotations

import json
import sys

import pytest
from click.testing import CliRunner

from service.cli.main import cli
from service.errors import ConfigurationError
from service.planning.profile import write_profile
from service.planning.search import Impossible
from tests.unit.planning.kit import make_profile, make_shape

# Eight images in 20 steps of 0.1 s, and what is around them: a little under four a second.
SHAPE = make_shape(curve=((2, 0.05), (16, 0.1)), decode_s=0.005, mark_s=0.01)


@pytest.fixture
def profile_path(tmp_path):
    path = tmp_path / "profile.json"
    write_profile(make_profile(SHAPE, encode_s=0.002), path)
    return path


def plan(profile_path, *arguments, objective="p99<=4s, goodput>=99%, refusals<=1%", quick=True):
    command = ["plan", "--profile", str(profile_path), "--objective", objective, *arguments]
    if quick:
        command += ["--duration", "60", "--seeds", "3", "--no-autoscaling"]
    result = CliRunner().invoke(cli, command)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def planned(profile_path, tmp_path, *arguments, **options):
    path = tmp_path / "plan.json"
    plan(profile_path, "--json", str(path), *arguments, **options)
    return json.loads(path.read_text())


def test_the_answer_is_enough_and_one_replica_fewer_is_not(profile_path, tmp_path):
    found = planned(profile_path, tmp_path, "--arrivals", "poisson:12")
    by_size = {trial["replicas"]: trial for trial in found["tried"]}
    replicas = found["answer"]["replicas"]
    assert replicas >= 12 / found["answer"]["capacity_per_replica_per_s"]
    assert not by_size[replicas]["missed"]
    assert by_size[replicas - 1]["missed"]
    assert by_size[replicas]["p99_s"] <= 4.0
    assert by_size[replicas]["certain_to_95_percent"]["goodput>=99%"] >= 0.99


def test_a_tighter_latency_needs_more_replicas_and_a_shorter_queue(profile_path, tmp_path):
    loose, tight = (
        planned(
            profile_path,
            tmp_path,
            "--arrivals",
            "poisson:12",
            objective=f"p99<={bound}, goodput>=99%",
        )["answer"]
        for bound in ("8s", "2600ms")
    )
    assert tight["replicas"] > loose["replicas"]
    assert tight["max_queued_images"] < loose["max_queued_images"]


def test_latency_alone_does_not_allow_to_refuse_everybody(profile_path, tmp_path):
    found = planned(profile_path, tmp_path, "--arrivals", "poisson:6", objective="p99<=4s")
    assert found["objective"] == "p99<=4s, refusals<=1%"


def test_a_latency_below_one_request_alone_is_impossible_and_it_says_by_what(profile_path):
    with pytest.raises(Impossible, match=r"takes 1\.02 s on an idle replica .* 100% of the mix"):
        plan(profile_path, "--arrivals", "poisson:1", objective="p99<=900ms")


def test_slow_requests_that_are_rare_enough_do_not_make_it_impossible(profile_path):
    mix = ("--request", "steps=4,weight=99.5", "--request", "steps=60,weight=0.5")
    assert "replicas" in plan(profile_path, "--arrivals", "poisson:20", *mix, objective="p99<=2s")


def test_a_rate_beyond_all_replicas_is_impossible(profile_path):
    with pytest.raises(Impossible, match="more work than 2 replicas can do"):
        plan(profile_path, "--arrivals", "poisson:50", "--max-replicas", "2")


def test_too_few_replicas_for_the_objective_are_named_with_what_they_miss(profile_path):
    with pytest.raises(Impossible, match=r"4 replicas.* goodput>=99% reaches 0\.\d"):
        plan(profile_path, "--arrivals", "gamma:11,4", "--max-replicas", "4")


def test_a_target_is_found_for_the_autoscaler_and_what_it_costs(profile_path, tmp_path):
    output = plan(
        profile_path,
        "--arrivals",
        "ramp:2,10",
        "--duration",
        "400",
        "--seeds",
        "2",
        "--price",
        "2.5",
        "--json",
        str(tmp_path / "plan.json"),
        "--plot",
        str(tmp_path / "plan.png"),
        quick=False,
    )
    found = json.loads((tmp_path / "plan.json").read_text())
    target_s = found["answer"]["target_queued_seconds"]
    assert f"autoscaling.targetQueuedSeconds={target_s:g}" in output
    scaled = next(
        trial
        for trial in found["tried_with_autoscaler"]
        if trial["target_queued_seconds"] == target_s
    )
    assert not scaled["missed"]
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_without_matplotlib_says_what_to_install(profile_path, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'mintmark\[plan\]'"):
        plan(profile_path, "--arrivals", "poisson:3", "--plot", str(tmp_path / "plan.png"))


@pytest.mark.parametrize(
    "arguments", [(), ("--arrivals", "poisson:1", "--scenario", "x.toml")], ids=["none", "both"]
)
def test_arrivals_come_from_one_place(profile_path, arguments):
    with pytest.raises(ConfigurationError, match="either --arrivals or --scenario"):
        plan(profile_path, *arguments)
