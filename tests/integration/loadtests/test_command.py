"""The command from the scenario to the report, against a server that answers at once."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import pytest
from click.testing import CliRunner

from loadtests.result import LoadResult
from loadtests.run import main
from tests.integration.loadtests.fake_server import draw, fake_server, refuse

SCENARIO = """
name = "t"
description = "<b>short</b> & sweet"
duration_s = 2.0
warmup_s = 0.5
drain_s = 10.0
max_lag_s = 5.0
[arrivals]
kind = "ramp"
from_rate_per_s = 10
to_rate_per_s = 20
steps = 4
[[mix]]
name = "a<i>"
[[mix]]
name = "streams"
is_streamed = true
partial_images = 1
[objective]
latency_s = 5.0
[verify]
share = 0.5
"""


@pytest.fixture(scope="module")
def server():
    with fake_server(draw) as running:
        yield running


@pytest.fixture(autouse=True)
def _as_new(server):
    server.answer = draw
    server.verdict = ("ai_generated_by_us", "proof")


@pytest.fixture
def play(tmp_path, server):
    """Run the command; return its result."""
    (tmp_path / "t.toml").write_text(SCENARIO)

    def play(*arguments: str, target: str = server.url):
        command = [str(tmp_path / "t.toml"), "--target", target, *arguments]
        return CliRunner().invoke(main, command)

    return play


def test_a_good_run_leaves_a_result_a_report_and_every_request(play, tmp_path):
    paths = {name: tmp_path / f"out.{name}" for name in ("json", "html", "png", "samples")}
    options = [text for name, path in paths.items() for text in (f"--{name}", str(path))]
    done = play(*options)
    assert done.exit_code == 0, done.output
    assert "t: passed" in done.output
    result = LoadResult.model_validate_json(paths["json"].read_text())
    assert result.outcome == "passed"
    assert result.figures.attainment == 1.0
    assert len(result.stages) == 3  # the first stair begins in the warm-up
    assert set(result.profiles) == {"a<i>", "streams"}
    assert result.profiles["streams"].first_event is not None
    assert result.profiles["a<i>"].first_event is None
    assert result.verification.unsigned == 0
    assert 0 < result.verification.verified < result.verification.pictures
    assert result.server is not None
    assert result.environment.cores >= 1
    lines = [json.loads(line) for line in paths["samples"].read_text().splitlines()]
    assert [line["number"] for line in lines] == list(range(len(lines)))
    assert paths["png"].read_bytes().startswith(b"\x89PNG")
    check_report(paths["html"].read_text())


def check_report(text: str) -> None:
    """It has every plot, shows text as text, and loads nothing from anywhere."""
    for name in ("cdf", "time", "flow", "in-flight", "goodput", "endings"):
        assert f'<div id="{name}">' in text
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ET.fromstring(svg)
    assert "&lt;b&gt;short&lt;/b&gt; &amp; sweet" in text
    assert "<b>" not in text
    assert "<i>" not in text
    assert not re.search(r"""(?:src|href)=["']?(?!#)""", re.sub(r"xlink:href=\"#", "", text))
    assert "<script" not in text


def test_a_missed_budget_is_exit_code_1_and_is_named(play, server):
    server.answer = refuse(500, "signing_failed")
    done = play()
    assert done.exit_code == 1
    assert re.search(r"error_share.*MISSED", done.output)
    assert "signing_failed" in done.output


def test_a_picture_that_is_not_proven_misses_the_budget(play, server):
    server.verdict = ("invalid_credentials", "proof")
    done = play()
    assert done.exit_code == 1
    assert re.search(r"unsigned.*MISSED", done.output)


@pytest.mark.parametrize(
    "target", ["http://example.org:3000", "http://10.1.2.3:3000", "http://[2001:db8::1]:3000"]
)
def test_load_goes_to_this_machine_unless_the_other_one_is_said_to_be_ours(play, target):
    done = play(target=target)
    assert done.exit_code == 2
    assert "--allow-remote" in done.output


def test_a_remote_grpc_address_is_no_way_around(play):
    done = play("--grpc", "--grpc-address", "example.org:3001")
    assert done.exit_code == 2
    assert "example.org" in done.output


def test_a_scenario_that_is_none_is_exit_code_2(play, tmp_path):
    (tmp_path / "t.toml").write_text(SCENARIO.replace("warmup_s", "warm_up_s"))
    done = play()
    assert done.exit_code == 2
    assert "warm_up_s: unknown key" in done.output


def test_a_server_that_is_not_there_is_exit_code_2(play):
    done = play(target="http://127.0.0.1:9")
    assert done.exit_code == 2
    assert "does not say that it is ready" in done.output
