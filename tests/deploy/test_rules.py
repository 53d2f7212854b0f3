"""The rules are sound, tested, explained in the runbook, and an alert of theirs arrives."""

from __future__ import annotations

import re
import shlex
import subprocess
from functools import cache
from typing import Any

import click
import pytest
import yaml

from service.cli.main import cli
from service.reference import error_classes, metrics_page
from tests.deploy.conftest import CERTIFICATE_DAYS
from tests.deploy.kit import tool
from tests.deploy.monitoring_kit import RULES, RULES_TESTS, RUNBOOK, alerts, rules

ALERTS = pytest.mark.parametrize("name", sorted(alerts()))
DELIVERED_S = 60.0


def promtool(*arguments: str, text: str | None = None) -> str:
    done = subprocess.run(
        [tool("promtool"), *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


@cache
def rules_tests() -> list[dict[str, Any]]:
    return [
        test
        for path in sorted(RULES_TESTS.glob("*.yaml"))
        for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
        for test in case["alert_rule_test"]
    ]


def sections() -> dict[str, str]:
    """Return the runbook's sections by heading."""
    parts = re.split(r"^## (.+)$", RUNBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("path", sorted(RULES.glob("*.yaml")), ids=lambda path: path.stem)
def test_prometheus_reads_the_rules(path):
    promtool("check", "rules", "--lint-fatal", str(path))


@pytest.mark.parametrize("path", sorted(RULES_TESTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(path):
    promtool("test", "rules", str(path))


@ALERTS
def test_an_alert_is_tested_both_ways(name):
    expected = [test["exp_alerts"] for test in rules_tests() if test["alertname"] == name]
    assert any(expected), "nothing shows that it fires"
    assert not all(expected), "nothing shows that it may stay silent"


def test_no_test_is_about_an_alert_that_is_gone():
    # promtool takes an alert that does not exist for one that does not fire.
    assert {test["alertname"] for test in rules_tests()} == set(alerts())


@ALERTS
def test_an_alert_says_how_bad_it_is_and_where_to_read_on(name):
    rule = alerts()[name]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"deploy/runbook.md#{name.lower()}"


def test_the_runbook_has_one_section_for_each_alert():
    found = [heading for heading in sections() if heading.startswith("Mintmark")]
    assert sorted(found) == sorted(alerts())


@ALERTS
def test_a_section_says_what_to_do_and_what_never_to_do(name):
    text = sections()[name]
    for part in ("**Meaning.**", "**See.**", "**First.**", "**Never.**"):
        assert part in text, part


def test_the_runbook_knows_our_own_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test.png").touch()
    lines = re.findall(r"^mintmark .+$", RUNBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert lines
    for line in lines:
        _, command, *arguments = shlex.split(line)
        found = cli.get_command(click.Context(cli), command)
        assert found is not None, line
        found.make_context(command, arguments)  # raises UsageError


def test_thresholds_are_read_by_rules_and_defined_once():
    names = [rule["record"] for rule in rules() if "threshold" in rule.get("record", "")]
    read = set()
    for rule in rules():
        read |= set(re.findall(r"mintmark:threshold:\w+", rule["expr"]))
    assert sorted(names) == sorted(read)


def test_the_documentation_names_the_same_days_of_the_certificate():
    (sentence,) = re.findall(r"warn at (\d+) days and wake somebody at (\d+)", metrics_page())
    exprs = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}
    for level, days in zip(("warning", "critical"), sentence, strict=True):
        assert exprs[f"mintmark:threshold:signer_{level}_seconds"] == f"vector({days} * 86400)"


def test_exactly_the_errors_of_callers_are_no_failures():
    callers = {error.code for error in error_classes() if error.http_status < 500}
    for rule in rules():
        if not rule.get("record", "").startswith("mintmark:requests"):
            continue
        for outcomes in re.findall(r'outcome!~"([^"]+)"', rule["expr"]):
            assert set(outcomes.split("|")) - {"done"} == callers, rule["record"]


def test_the_live_metrics_pass_the_linter(monitored):
    assert promtool("check", "metrics", text=monitored.exposition) == ""


def test_every_rule_is_evaluated_without_an_error(monitored):
    groups = monitored.prometheus.get("rules")["groups"]
    found = [rule for group in groups for rule in group["rules"]]
    assert len(found) == len(rules())
    assert {rule["name"]: rule.get("lastError") for rule in found if rule["health"] != "ok"} == {}


def test_an_alert_of_the_real_service_arrives(monitored):
    # Before the certificate has been read, nothing is known of it, and nothing must be said.
    alert = monitored.inbox.wait_for("MintmarkSignerExpiresVerySoon", DELIVERED_S)
    assert alert["labels"]["severity"] == "critical"
    assert alert["labels"]["job"] == "mintmark"
    assert f"mintmark expires in {CERTIFICATE_DAYS - 1}d 23h" in alert["annotations"]["description"]
    section = alert["annotations"]["runbook_url"].partition("#")[2]
    assert section in {heading.lower() for heading in sections()}
