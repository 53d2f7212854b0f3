"""Who may call which route over HTTP."""

from __future__ import annotations

import re

import pytest

from service.access.caller import Scope
from service.rest.app import build_admin_app, build_routes
from tests.access_kit import (
    ADMIN_KEY,
    APP_KEY,
    OTHER_KEY,
    VERIFY_KEY,
    bearer,
    keyed_access,
    make_entry,
)
from tests.rest_kit import IMAGES, VERIFY

BODY = {"prompt": "x"}
PICTURE = {"image": ("p.png", b"png", "image/png")}
PUBLIC = [
    "/",
    "/livez",
    "/healthz",
    "/readyz",
    "/v1/provenance/trust-anchors",
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
]
# Whoever has been given the unguessable name of a picture's file may fetch it.
PUBLIC_TOO = ["/v1/images/files/toy", "/openapi.json"]
CLOSED = [
    ("POST", IMAGES),
    ("POST", VERIFY),
    ("GET", "/metrics"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/toy"),
    ("GET", "/v1/requests/req_1"),
    ("POST", "/v1/requests/req_1/cancel"),
]


@pytest.fixture
def keyed(bench):
    bench.access = keyed_access()
    return bench


@pytest.mark.parametrize("path", PUBLIC)
async def test_probes_and_anchors_need_no_key(keyed, path):
    async with keyed.client() as client:
        assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize(("method", "path"), CLOSED)
@pytest.mark.parametrize("headers", [{}, bearer("mm_" + "x" * 43), {"Authorization": "Basic eA=="}])
async def test_every_other_route_needs_one(keyed, method, path, headers):
    async with keyed.client() as client:
        response = await client.request(method, path, headers=headers)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "unauthenticated"
    assert response.headers["www-authenticate"] == 'Bearer realm="mintmark"'
    assert keyed.generate.requests == []


async def test_two_authorization_headers_are_none(keyed):
    headers = [("Authorization", f"Bearer {APP_KEY}"), ("Authorization", f"Bearer {OTHER_KEY}")]
    async with keyed.client() as client:
        assert (await client.get("/v1/models", headers=headers)).status_code == 401


async def test_no_key_is_looked_at_before_the_body_is_read(keyed):
    async def endless():
        while True:
            yield b"x" * 1000

    async with keyed.client() as client:
        assert (await client.post(IMAGES, content=endless())).status_code == 401


async def test_a_route_that_nobody_called_public_needs_a_key(keyed):
    """A route that is added is closed, or it is put into the list above."""
    routes = build_routes(keyed.environment(), keyed.access, has_admin_port=False)
    assert len(routes) > len(PUBLIC)
    async with keyed.client() as client:
        for route in routes:
            path = re.sub(r"{\w+(:path)?}", "toy", route.path)
            method = "GET" if "GET" in (route.methods or ()) else "POST"
            status = (await client.request(method, path)).status_code
            assert (status == 401) == (path not in [*PUBLIC, *PUBLIC_TOO]), (
                f"{method} {path}: {status}"
            )


@pytest.mark.parametrize(
    ("key", "method", "path", "scope"),
    [
        (VERIFY_KEY, "POST", IMAGES, "generate"),
        (APP_KEY, "POST", VERIFY, "verify"),
        (APP_KEY, "GET", "/metrics", "admin"),
        (VERIFY_KEY, "GET", "/metrics", "admin"),
        (ADMIN_KEY, "POST", IMAGES, "generate"),
        (VERIFY_KEY, "GET", "/v1/requests/req_1", "generate"),
    ],
)
async def test_a_key_without_the_scope_is_told_which(keyed, key, method, path, scope):
    async with keyed.client() as client:
        response = await client.request(method, path, headers=bearer(key))
    assert response.status_code == 403
    assert response.json()["error"]["code"] == "forbidden"
    assert f"'{scope}'" in response.json()["error"]["message"]


async def test_each_scope_opens_its_routes(keyed):
    async with keyed.client() as client:
        drawn = await client.post(IMAGES, json=BODY, headers=bearer(APP_KEY))
        seen = await client.post(VERIFY, files=PICTURE, headers=bearer(VERIFY_KEY))
        metrics = await client.get("/metrics", headers=bearer(ADMIN_KEY))
        models = await client.get("/v1/models", headers=bearer(VERIFY_KEY))
    assert [r.status_code for r in (drawn, seen, metrics, models)] == [200] * 4


async def test_the_key_is_in_no_answer_and_no_metric(keyed):
    async with keyed.client() as client:
        response = await client.post(IMAGES, json={}, headers=bearer(APP_KEY))
    assert APP_KEY not in response.text
    assert APP_KEY not in keyed.metrics.exposition().decode()


async def test_a_request_is_found_by_its_caller_and_administrators_only(keyed):
    async with keyed.client() as client:
        await client.post(IMAGES, json=BODY, headers={**bearer(APP_KEY), "X-Request-Id": "mine"})
        url = "/v1/requests/mine"
        statuses = [
            (await client.get(url, headers=bearer(key))).status_code
            for key in (APP_KEY, OTHER_KEY, ADMIN_KEY)
        ]
        stranger = await client.post(f"{url}/cancel", headers=bearer(OTHER_KEY))
        assert keyed.generate.cancelled == []
        owner = await client.post(f"{url}/cancel", headers=bearer(APP_KEY))
        unknown = await client.get("/v1/requests/other", headers=bearer(OTHER_KEY))
    assert statuses == [200, 404, 200]
    assert stranger.status_code == 404
    assert stranger.json() == unknown.json()  # nothing tells one from the other
    assert owner.json()["cancelled"] is True


async def test_the_rate_counts_what_does_work_and_not_what_looks(bench):
    bench.access = keyed_access(make_entry(requests_per_minute=2))
    async with bench.client() as client:
        client.headers.update(bearer(APP_KEY))
        for _ in range(10):
            assert (await client.get("/v1/models")).status_code == 200
        statuses = [(await client.post(IMAGES, json=BODY)).status_code for _ in range(3)]
        refused = await client.post(IMAGES, json=BODY)
    assert statuses == [200, 200, 429]
    assert refused.json()["error"]["code"] == "rate_limited"
    assert 50 <= int(refused.headers["retry-after"]) <= 60
    assert 50_000 <= int(refused.headers["retry-after-ms"]) <= 60_000
    assert "x-should-retry" not in refused.headers
    refusals = 'mintmark_admission_refusals_total{reason="rate_limited"}'
    assert bench.metric(refusals) == 2
    route = f'mintmark_http_requests_total{{method="POST",route="{IMAGES}",status="429"}}'
    assert bench.metric(route) == 2


async def test_verification_has_the_callers_rate_too(bench):
    entry = make_entry(VERIFY_KEY, "checker", Scope.VERIFY, requests_per_minute=1)
    bench.access = keyed_access(entry)
    async with bench.client() as client:
        client.headers.update(bearer(VERIFY_KEY))
        statuses = [(await client.post(VERIFY, files=PICTURE)).status_code for _ in range(2)]
    assert statuses == [200, 429]


async def test_metrics_are_on_the_administrators_port_only_if_there_is_one(bench):
    import httpx

    bench.has_admin_port = True
    bench.access = keyed_access()
    async with bench.client() as client:
        missing = await client.get("/metrics", headers=bearer(ADMIN_KEY))
        links = (await client.get("/")).json()["links"]
    assert missing.status_code == 404
    assert "metrics" not in links
    transport = httpx.ASGITransport(build_admin_app(bench.environment()))
    async with httpx.AsyncClient(transport=transport, base_url="http://admin.test") as client:
        assert "mintmark_ready" in (await client.get("/metrics")).text
        assert (await client.get("/livez")).status_code == 200
        assert (await client.post(IMAGES, json=BODY)).status_code == 404
