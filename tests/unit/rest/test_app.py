"""What holds for every answer: identity, error shape, observation, probes."""

from __future__ import annotations

import logging
import re

import pytest

from service.rest.error_response import ErrorBoundary
from tests.rest_kit import ANCHORS_PEM, IMAGES, VERIFY

GENERATED = re.compile(r"req_[0-9a-f]{32}")

EVERY_KIND = [
    ("GET", "/", 200),
    ("GET", "/livez", 200),
    ("GET", "/healthz", 200),
    ("GET", "/readyz", 200),
    ("GET", "/metrics", 200),
    ("GET", "/v1/models", 200),
    ("GET", "/nowhere", 404),
    ("GET", "/v1/models/", 404),
    ("GET", "/schema.json", 404),
    ("GET", "/docs.json", 404),
    ("GET", IMAGES, 405),
    ("BREW", IMAGES, 405),
    ("POST", "/v1/models", 405),
    ("POST", IMAGES, 415),
    ("POST", VERIFY, 415),
]


@pytest.mark.parametrize(("method", "path", "status"), EVERY_KIND)
async def test_every_answer_has_a_request_id(bench, method, path, status):
    async with bench.client() as client:
        response = await client.request(method, path)
        own = await client.request(method, path, headers={"X-Request-Id": "my-id_1.2"})
    assert response.status_code == own.status_code == status
    assert GENERATED.fullmatch(response.headers["x-request-id"])
    assert own.headers["x-request-id"] == "my-id_1.2"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/v1/models/nope", 404, "model_not_found"),
        ("GET", "/v1/requests/req_0", 404, "not_found"),
        ("POST", "/v1/requests/req_0/cancel", 404, "not_found"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("POST", IMAGES, 415, "unsupported_media_type"),
    ],
)
async def test_every_error_has_the_same_shape(bench, method, path, status, code):
    async with bench.client() as client:
        response = await client.request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code


async def test_a_wrong_method_is_told_the_right_ones(bench):
    async with bench.client() as client:
        response = await client.delete(IMAGES)
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("offered", ["", "x" * 65, "a b", "a/b", "é", 'x"', "a\tb"])
async def test_a_bad_request_id_is_refused_and_replaced(bench, offered):
    async with bench.client() as client:
        response = await client.get("/v1/models", headers={"X-Request-Id": offered.encode()})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "x-request-id"
    assert GENERATED.fullmatch(response.headers["x-request-id"])


async def test_two_request_ids_are_refused(bench):
    headers = [("X-Request-Id", "a"), ("X-Request-Id", "b")]
    async with bench.client() as client:
        assert (await client.get("/v1/models", headers=headers)).status_code == 400


async def test_the_request_id_reaches_the_use_case(bench):
    async with bench.client() as client:
        await client.post(IMAGES, json={"prompt": "x"}, headers={"X-Request-Id": "mine"})
    assert bench.generate.request_ids == ["mine"]


async def test_probes_follow_the_worker(bench):
    async with bench.client() as client:
        bench.readiness.ready = False
        not_ready = await client.get("/readyz")
        live = await client.get("/livez")
        bench.readiness.live = False
        dead = await client.get("/livez")
    assert not_ready.status_code == 503
    assert not_ready.json()["error"]["message"] == "The model is loading."
    assert live.status_code == 200
    assert dead.status_code == 503


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/models/toy", "/v1/provenance/trust-anchors", "/v1/requests/a"]
)
async def test_routes_that_need_the_model_say_so_until_it_has_loaded(bench, path):
    bench.is_loaded = False
    async with bench.client() as client:
        response = await client.get(path)
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/metrics")).status_code == 200
    assert response.status_code == 503
    assert "retry-after" in response.headers


async def test_unknown_paths_share_one_series(bench):
    async with bench.client() as client:
        for number in range(5):
            await client.get(f"/scan/{number}")
        await client.get("/v1/models/some/unknown")
        await client.request("BREW", "/v1/models")
    unmatched = 'mintmark_http_requests_total{method="GET",route="unmatched",status="404"}'
    assert bench.metric(unmatched) == 5
    template = (
        'mintmark_http_requests_total{method="GET",route="/v1/models/{model_id:path}",status="404"}'
    )
    assert bench.metric(template) == 1
    brew = 'mintmark_http_requests_total{method="other",route="/v1/models",status="405"}'
    assert bench.metric(brew) == 1


async def test_requests_are_logged_once_and_probes_never(bench, caplog):
    with caplog.at_level(logging.INFO, "mintmark.access"):
        async with bench.client() as client:
            await client.get("/livez")
            await client.get("/metrics")
            await client.get("/v1/models?prompt=secret", headers={"X-Request-Id": "mine"})
    (record,) = (r for r in caplog.records if r.name == "mintmark.access")
    assert record.route == "/v1/models"
    assert record.status == 200
    assert record.sent_bytes > 0
    assert "secret" not in str(vars(record))


async def test_models_are_listed_with_their_facts(bench):
    async with bench.client() as client:
        listing = (await client.get("/v1/models")).json()
        model = (await client.get("/v1/models/toy")).json()
    assert listing == {"object": "list", "data": [model]}
    assert model["id"] == "toy"
    assert model["object"] == "model"
    assert model["sizes"] == ["64x64", "96x64"]
    assert model["default_size"] == "64x64"
    assert "euler" in model["schedulers"]
    assert model["defaults"]["num_inference_steps"] == 4
    assert model["limits"]["max_prompt_tokens"] == 16
    assert model["prediction_type"] == "epsilon"
    assert re.fullmatch(r"[0-9a-f]{64}", model["revision"])
    assert model["card"]["description"]


async def test_a_model_id_may_hold_slashes(bench):
    spec = bench.models.pop("toy")
    bench.models["toy"] = spec
    bench.models["org/model/v2"] = spec
    async with bench.client() as client:
        assert (await client.get("/v1/models/org/model/v2")).status_code == 200
        assert (await client.get("/v1/models/org%2Fmodel%2Fv2")).status_code == 200


async def test_trust_anchors_are_public(bench):
    async with bench.client() as client:
        response = await client.get("/v1/provenance/trust-anchors")
    assert response.content == ANCHORS_PEM
    assert response.headers["content-type"] == "application/x-pem-file"


async def test_progress_and_cancel_of_a_request(bench):
    async with bench.client() as client:
        await client.post(IMAGES, json={"prompt": "x"}, headers={"X-Request-Id": "mine"})
        progress = await client.get("/v1/requests/mine")
        first = await client.post("/v1/requests/mine/cancel")
        second = await client.post("/v1/requests/mine/cancel")
    assert progress.json() == {
        "id": "mine",
        "object": "request",
        "phase": "running",
        "queue_position": 0,
        "steps_done": 2,
        "steps_total": 4,
    }
    assert first.json()["cancelled"] is True
    assert second.json()["cancelled"] is False


async def test_the_index_names_the_service_and_only_its_own_routes(bench):
    async with bench.client() as client:
        index = (await client.get("/")).json()
        assert index["name"] == "mintmark"
        assert index["version"] == "1.2.3"
        for path in index["links"].values():
            assert (await client.get(path)).status_code in {200, 405}


async def test_head_answers_like_get_without_a_body(bench):
    async with bench.client() as client:
        response = await client.head("/readyz")
    assert response.status_code == 200


async def test_other_protocols_than_http_are_closed_politely(bench):
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "websocket", "path": "/v1/models", "headers": [], "subprotocols": []}
    await bench.app()(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_a_failure_in_the_middle_of_an_answer_breaks_the_connection():
    async def fails_late(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("late")

    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "headers": [], "state": {"request_id": "req_1"}}
    with pytest.raises(RuntimeError, match="late"):
        await ErrorBoundary(fails_late)(scope, receive, send)
    assert len(sent) == 1  # no second answer behind the first
