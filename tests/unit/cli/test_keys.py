"""`mintmark keys new`, and the start of a server that others can reach."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from click.testing import CliRunner

from service.access.keyring import KeyFile
from service.access.keys import parse_keys
from service.cli.main import cli
from service.cli.service_client import open_client


def run(*arguments: str):
    return CliRunner().invoke(cli, ["keys", "new", *arguments])


def test_a_new_key_works_with_the_entry_that_is_printed(tmp_path):
    result = run("--name", "app", "--scope", "generate", "--scope", "verify", "--days", "3")
    assert result.exit_code == 0
    key = result.stderr.strip().rpartition(" ")[2]
    assert key not in result.stdout
    path = tmp_path / "keys.toml"
    path.write_text(result.stdout)
    caller = KeyFile(path, 5.0).authenticate(f"Bearer {key}")
    assert caller.name == "app"
    assert {str(scope) for scope in caller.scopes} == {"generate", "verify"}
    (entry,) = parse_keys(result.stdout.encode(), is_json=False).values()
    assert entry.expires_at is not None
    assert timedelta(days=2) < entry.expires_at - datetime.now(UTC) <= timedelta(days=3)


def test_limits_are_written_into_the_entry():
    limits = ["--requests-per-minute", "5", "--concurrent-requests", "2", "--queued-seconds", "1.5"]
    stdout = run("--name", "app", "--scope", "generate", *limits).stdout
    (entry,) = parse_keys(stdout.encode(), is_json=False).values()
    assert entry.caller().limits.requests_per_minute == 5
    assert entry.caller().limits.concurrent_requests == 2
    assert entry.caller().limits.queued_seconds == 1.5


@pytest.mark.parametrize("name", ["", "a b", "x" * 65])
def test_a_bad_name_is_one_clear_line(name):
    result = run("--name", name, "--scope", "generate")
    assert result.exit_code == 1
    assert result.output.startswith("Error: name:")


def test_the_key_goes_with_every_call():
    seen = []

    def answer(request):
        seen.append(request.headers.get("authorization"))
        return httpx.Response(200, json={})

    for key in (None, "mm_x"):
        with open_client("http://service", httpx.MockTransport(answer), api_key=key) as client:
            client.get("/")
    assert seen == [None, "Bearer mm_x"]


def test_an_address_that_others_reach_is_not_served_without_keys(tmp_path):
    shown = subprocess.run(
        [sys.executable, "-m", "service.cli", "serve", "--host", "0.0.0.0"],
        env={"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 1
    assert shown.stderr.startswith("Error: 0.0.0.0 can be reached from other machines")
    assert "Traceback" not in shown.stderr
