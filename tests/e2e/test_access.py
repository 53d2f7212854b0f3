"""Keys, limits and repeated requests, in the real process, as the `openai` package meets them."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import openai
import pytest

from service.access.caller import Scope
from service.access.keys import new_key, to_toml
from tests.access_kit import ADMIN_KEY, APP_KEY, OTHER_KEY, VERIFY_KEY, bearer, make_entry
from tests.e2e.server import free_ports, run_server

IMAGES = "/v1/images/generations"
LONG = {"prompt": "a red apple", "num_inference_steps": 150, "n": 4}
LIMITED_KEY = new_key()
ENTRIES = (
    make_entry(),
    make_entry(OTHER_KEY, "other"),
    make_entry(VERIFY_KEY, "checker", Scope.VERIFY),
    make_entry(ADMIN_KEY, "boss", Scope.ADMIN),
    make_entry(LIMITED_KEY, "limited", requests_per_minute=1),
)


def write_keys(path: Path, *entries) -> None:
    """Replace the file as a whole, as a secret mount does."""
    fresh = path.with_suffix(".new")
    fresh.write_text("\n".join(map(to_toml, entries)))
    fresh.replace(path)


@pytest.fixture(scope="module")
def keys_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "keys.toml"
    write_keys(path, *ENTRIES)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory, keys_path):
    settings = {
        "MINTMARK_ACCESS__KEYS_FILE": str(keys_path),
        "MINTMARK_ACCESS__RELOAD_S": "0.2",
    }
    with run_server(tmp_path_factory.mktemp("access"), settings) as running:
        yield running


def client(server, key, max_retries=0):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=max_retries)


def draw(server, key, **extra):
    with client(server, key) as made:
        return made.images.generate(
            prompt="a red apple", extra_body={"num_inference_steps": 2}, **extra
        )


def metric(server, series: str) -> float:
    text = httpx.get(f"{server.url}/metrics", headers=bearer(ADMIN_KEY)).text
    found = [
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith(f"{series} ") or line.startswith(f"{series}{{")
    ]
    return sum(found)


def wait_for(condition, timeout_s: float = 20.0) -> None:
    ends_at_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends_at_s
        time.sleep(0.05)


def test_each_refusal_is_the_clients_own_error(server):
    assert draw(server, APP_KEY).data
    with pytest.raises(openai.AuthenticationError):
        draw(server, "mm_" + "x" * 43)
    with pytest.raises(openai.PermissionDeniedError, match="generate"):
        draw(server, VERIFY_KEY)
    assert draw(server, LIMITED_KEY).data
    with pytest.raises(openai.RateLimitError) as limited:
        draw(server, LIMITED_KEY)
    assert 0 < int(limited.value.response.headers["retry-after"]) <= 60


def test_probes_answer_without_a_key_and_metrics_do_not(server):
    for path in ("/livez", "/readyz", "/healthz"):
        assert httpx.get(f"{server.url}{path}").status_code == 200
    assert httpx.get(f"{server.url}/metrics").status_code == 401
    assert httpx.get(f"{server.url}/metrics", headers=bearer(ADMIN_KEY)).status_code == 200


def test_keys_are_changed_while_the_server_runs(server, keys_path):
    fresh = new_key()
    try:
        write_keys(keys_path, *ENTRIES, make_entry(fresh))  # both, while the caller changes over
        wait_for(lambda: httpx.get(f"{server.url}/v1/models", headers=bearer(fresh)).is_success)
        assert draw(server, APP_KEY).data
        write_keys(keys_path, *ENTRIES[1:], make_entry(fresh))
        old = bearer(APP_KEY)
        wait_for(lambda: httpx.get(f"{server.url}/v1/models", headers=old).status_code == 401)
        keys_path.write_text("[[keys")
        time.sleep(0.5)
        assert draw(server, fresh).data
        wait_for(lambda: "stay as they were" in server.log())
    finally:
        write_keys(keys_path, *ENTRIES)
        old = bearer(APP_KEY)
        wait_for(lambda: httpx.get(f"{server.url}/v1/models", headers=old).is_success)


def test_no_key_is_ever_logged(server):
    draw(server, APP_KEY)
    log = server.log()
    assert "answered" in log
    assert APP_KEY not in log
    assert make_entry().sha256 not in log


def test_a_repeated_request_is_drawn_and_recorded_once(server):
    import sqlite3

    def recorded() -> int:
        with sqlite3.connect(server.state_dir / "ledger.sqlite3") as ledger:
            return int(ledger.execute("select count(*) from outputs").fetchone()[0])

    rows, images = recorded(), metric(server, "mintmark_images_total")
    headers = {"Idempotency-Key": "order-17"}
    answers = [draw(server, APP_KEY, extra_headers=headers).to_dict() for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert recorded() == rows + 1
    assert metric(server, "mintmark_images_total") == images + 1


def test_two_who_wait_for_one_request_and_one_who_leaves(server):
    headers = {**bearer(APP_KEY), "Idempotency-Key": "order-18", "x-request-id": "joined"}
    body = {**LONG, "n": 1}
    answers: list[httpx.Response] = []

    def leave():
        with contextlib.suppress(httpx.ReadTimeout):
            httpx.post(f"{server.url}{IMAGES}", json=body, headers=headers, timeout=1.0)

    def stay():
        answers.append(httpx.post(f"{server.url}{IMAGES}", json=body, headers=headers, timeout=100))

    def phase():
        response = httpx.get(f"{server.url}/v1/requests/joined", headers=bearer(APP_KEY))
        return response.json().get("phase")

    threads = [threading.Thread(target=leave), threading.Thread(target=stay)]
    threads[0].start()
    wait_for(lambda: phase() == "running")
    threads[1].start()
    threads[0].join()
    assert phase() == "running"
    threads[1].join(100)
    assert answers[0].status_code == 200
    assert answers[0].headers["idempotent-replayed"] == "true"
    assert answers[0].json()["request_id"] == "joined"


def test_another_callers_request_cannot_be_seen_or_stopped(server):
    answers: list[httpx.Response] = []
    headers = {**bearer(APP_KEY), "x-request-id": "private"}
    call = threading.Thread(
        target=lambda: answers.append(
            httpx.post(f"{server.url}{IMAGES}", json=LONG, headers=headers, timeout=100)
        )
    )
    call.start()
    url = f"{server.url}/v1/requests/private"
    wait_for(lambda: httpx.get(url, headers=bearer(APP_KEY)).is_success)
    assert httpx.get(url, headers=bearer(OTHER_KEY)).status_code == 404
    assert httpx.post(f"{url}/cancel", headers=bearer(OTHER_KEY)).status_code == 404
    assert httpx.get(url, headers=bearer(ADMIN_KEY)).is_success
    assert httpx.post(f"{url}/cancel", headers=bearer(ADMIN_KEY)).json()["cancelled"] is True
    call.join(30)
    assert answers[0].status_code == 499


def test_metrics_can_have_a_port_of_their_own(tmp_path):
    (admin_port,) = free_ports(1)
    with run_server(tmp_path, {"MINTMARK_SERVER__ADMIN_PORT": str(admin_port)}) as server:
        assert httpx.get(f"{server.url}/metrics").status_code == 404
        text = httpx.get(f"http://127.0.0.1:{admin_port}/metrics").text
        assert "mintmark_ready 1.0" in text
        assert "no API keys" in server.log()  # once, and the server is on this machine only
        server.terminate()
        assert server.wait_stopped() == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{admin_port}/livez")


def test_an_administrators_port_in_use_is_one_clear_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = {"MINTMARK_SERVER__ADMIN_PORT": str(taken.getsockname()[1])}
        with run_server(tmp_path, settings, wait_until_ready=False) as server:
            assert server.wait_stopped() == 1
            assert "MINTMARK_SERVER__ADMIN_PORT" in server.log()
            assert "Traceback" not in server.log()


def test_every_address_is_refused_without_keys_however_it_was_chosen(tmp_path):
    settings = {"MINTMARK_SERVER__HOST": "0.0.0.0"}
    with run_server(tmp_path, settings, wait_until_ready=False) as server:
        assert server.wait_stopped() == 1
        assert "MINTMARK_ACCESS__ALLOW_OPEN" in server.log()
        assert "Traceback" not in server.log()


def test_a_server_that_is_meant_to_be_open_says_so(tmp_path):
    settings = {"MINTMARK_SERVER__HOST": "0.0.0.0", "MINTMARK_ACCESS__ALLOW_OPEN": "true"}
    with run_server(tmp_path, settings) as server:
        assert httpx.get(f"{server.url}/v1/models").is_success
        assert server.log().count("no API keys") == 1


def test_bentoml_serving_every_address_by_itself_is_refused_too(tmp_path):
    """In a container BentoML chooses the address, and our setting says nothing of it."""
    http_port, grpc_port = free_ports(2)
    command = [sys.executable, "-m", "bentoml", "serve", "service.bento:ImageGeneration"]
    command += ["--host", "0.0.0.0", "--port", str(http_port)]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "BENTOML_DO_NOT_TRACK": "true",
            "BENTOML_CONTAINERIZED": "true",  # a worker that ends is not started again
            "MINTMARK_SERVER__GRPC_PORT": str(grpc_port),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "can be reached from other machines" in done.stdout + done.stderr
