"""Scenario files: what is wrong with one is said by the name of the key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loadtests.harness.arrivals import Poisson, Replay
from loadtests.run import is_loopback
from loadtests.scenario import ScenarioError, load_scenario
from loadtests.scenario_options import Budgets

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "loadtests" / "scenarios"
SHIPPED = sorted(FOLDER.glob("*.toml"))
MINIMAL = """
name = "t"
duration_s = 10
[arrivals]
kind = "poisson"
rate_per_s = 2
[[mix]]
name = "a"
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "t.toml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_scenario_is_one(path):
    loaded = load_scenario(path)
    assert loaded.scenario.name == path.stem
    assert loaded.scenario.budgets.unsigned == 0
    assert loaded.scenario.warmup_s > 0


def test_the_kinds_of_load_are_all_shipped():
    kinds = {load_scenario(path).scenario.arrivals.kind for path in SHIPPED}
    assert kinds == {"constant", "poisson", "gamma", "bursts", "ramp", "replay"}


def test_the_documentation_lists_what_is_shipped_and_its_example_is_one(write):
    text = (ROOT / "docs" / "loadtests.md").read_text()
    (table,) = re.findall(r"## Scenarios\n(.*?)\n\n", text, re.DOTALL)
    assert sorted(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == [p.stem for p in SHIPPED]
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert load_scenario(write(example)).scenario.name == "example"


def test_every_budget_is_documented():
    text = (ROOT / "docs" / "loadtests.md").read_text()
    assert [name for name in Budgets.model_fields if f"`{name}`" not in text] == []


def test_a_minimal_scenario_has_strict_budgets_by_default(write):
    loaded = load_scenario(write(MINIMAL))
    budgets = loaded.scenario.budgets
    assert loaded.arrivals == Poisson(2)
    assert (budgets.error_share, budgets.overflow_share, budgets.unsigned) == (0.0, 0.0, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("rate_per_s", "rat_per_s"), "arrivals.rat_per_s: unknown key"),
        (('name = "t"', 'name = "t"\nwarmpu_s = 1'), "warmpu_s: unknown key"),
        (('name = "a"', 'name = "a"\nsteps = 4'), "mix.0.steps: unknown key"),
        (('"poisson"', '"possion"'), "arrivals: Input tag 'possion'"),
        (("duration_s = 10", ""), "duration_s: Field required"),
        (("duration_s = 10", 'duration_s = "10"'), "duration_s: Input should be a valid number"),
        (("duration_s = 10", "duration_s = 100000"), "duration_s: Input should be less than"),
        (("rate_per_s = 2", "rate_per_s = 0"), "arrivals.rate_per_s: Input should be greater"),
        (('name = "t"', 'name = "t"\nwarmup_s = 10'), "warmup_s must be below duration_s"),
        (('name = "a"', 'name = "a"\n[[mix]]\nname = "a"'), "two entries of mix"),
        (('name = "a"', 'name = "a"\n[budgets]\nattainment = 0.9'), "need an objective"),
        (('name = "a"', 'name = "a"\n[objective]\n'), "either latency_s or scale"),
        (('name = "a"', 'name = "a"\n[objective]\nscale = 3\nbasis = "linear"'), "needs size_px"),
        (('name = "a"', 'name = "a"\n[clients]\nleave_share = 0.7\nslow_share = 0.7'), "exceed 1"),
        (('name = "a"', 'name = "a"\n[clients]\nleave_share = 1.5'), "clients.leave_share: "),
        (("[arrivals]", "[arrivals"), "t.toml: "),
    ],
)
def test_a_mistake_is_named(write, change, message):
    assert change[0] in MINIMAL
    with pytest.raises(ScenarioError) as caught:
        load_scenario(write(MINIMAL.replace(change[0], change[1], 1)))
    assert message in str(caught.value)
    assert "t.toml" in str(caught.value)


def test_every_mistake_is_named_at_once(write):
    text = MINIMAL.replace("rate_per_s", "rat").replace('name = "a"', 'name = "a"\nsteps = 4')
    with pytest.raises(ScenarioError) as caught:
        load_scenario(write(text))
    assert str(caught.value).count("unknown key") == 2


def test_a_missing_file_is_a_mistake_as_well(tmp_path):
    with pytest.raises(ScenarioError, match="No such file"):
        load_scenario(tmp_path / "none.toml")


def test_the_command_line_replaces_keys(write):
    assert load_scenario(write(MINIMAL), {"seed": 9}).scenario.seed == 9


def replaying(write, tmp_path, lines: str):
    (tmp_path / "trace.jsonl").write_text(lines)
    kind = '"replay"\npath = "trace.jsonl"'
    return write(MINIMAL.replace('"poisson"', kind).replace("rate_per_s = 2", "speed = 2"))


def test_a_trace_lies_beside_its_scenario_and_is_put_in_order(write, tmp_path):
    lines = '{"at_s": 2.5, "profile": "a"}\n{"at_s": 1}\n'
    loaded = load_scenario(replaying(write, tmp_path, lines))
    assert loaded.arrivals == Replay((1, 2.5), 2)
    assert loaded.workload.trace_profiles == ("", "a")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"at_s": 1, "profile": "b"}', "trace.jsonl:2: no profile 'b' in mix"),
        ('{"at": 1}', "trace.jsonl:2: "),
        ('{"at_s": -1}', "trace.jsonl:2: at_s: "),
        ("nonsense", "trace.jsonl: Expecting value"),
    ],
)
def test_a_line_of_a_trace_that_is_none_is_named(write, tmp_path, line, message):
    with pytest.raises(ScenarioError, match=r"trace\.jsonl") as caught:
        load_scenario(replaying(write, tmp_path, f'{{"at_s": 0}}\n{line}\n'))
    assert message in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_is_known_by_its_names(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "0.0.0.0", "example.org", "localhost.example.org", "127.0.0.1.example", ""]
)
def test_nothing_else_is_taken_for_this_machine(host):
    assert not is_loopback(host)
