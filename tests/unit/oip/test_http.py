"""What `/v2` says of the server and its models, to whom, and in which shape it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.families.toy import toy_spec
from service.errors import Draining
from tests.access_kit import APP_KEY, bearer, keyed_access
from tests.oip_kit import (
    INFER,
    PROMPT,
)

REVISION = toy_spec().revision


async def test_the_server_says_what_it_is_and_that_it_lives(bench):
    async with bench.client() as client:
        server = (await client.get("/v2")).json()
        assert (await client.get("/v2/health/live")).json() == {"live": True}
        assert (await client.get("/v2/health/ready")).json() == {"ready": True}
    assert server == {"name": "mintmark", "version": "1.2.3", "extensions": ["binary_tensor_data"]}


async def test_probes_fail_with_the_reason_while_there_is_no_model(bench):
    bench.is_loaded = bench.readiness.ready = bench.readiness.live = False
    async with bench.client() as client:
        for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/toy/ready", "/v2/models"):
            response = await client.get(path)
            assert response.status_code == 503
            assert response.json() == {
                "error": "The model is loading.",
                "code": "model_not_ready",
                "param": None,
            }
            assert response.headers["retry-after"] == "5"


async def test_a_model_is_not_ready_while_the_server_drains(bench):
    bench.readiness.ready, bench.readiness.error = False, Draining("The server is shutting down.")
    async with bench.client() as client:
        assert (await client.get("/v2/models/toy/ready")).json()["code"] == "draining"


async def test_models_are_listed_the_default_one_first(bench):
    bench.models["org/another"] = replace(toy_spec(), model_id="org/another")
    async with bench.client() as client:
        assert (await client.get("/v2/models")).json() == {"models": ["toy", "org/another"]}


@pytest.mark.parametrize("path", ["/v2/models/toy", f"/v2/models/toy/versions/{REVISION}"])
async def test_metadata_names_every_tensor_with_its_datatype(bench, path):
    async with bench.client() as client:
        model = (await client.get(path)).json()
        assert (await client.get(f"{path}/ready")).json() == {"name": "toy", "ready": True}
    assert model["name"] == "toy"
    assert model["versions"] == [REVISION]
    assert model["platform"] == "mintmark_toy"
    assert {"name": "PROMPT", "datatype": "BYTES", "shape": [-1]} in model["inputs"]
    assert {"name": "SEED", "datatype": "INT64", "shape": [-1]} in model["inputs"]
    assert [output["name"] for output in model["outputs"]] == ["IMAGE", "SEED_USED", "PROVENANCE"]


@pytest.mark.parametrize(
    "path", ["/v2/models/nope", "/v2/models/toy/versions/2", "/v2/models/nope/ready", "/v2/models/"]
)
async def test_an_unknown_model_or_version_is_not_found(bench, path):
    async with bench.client() as client:
        response = await client.get(path)
    assert response.status_code == 404
    assert response.json()["code"] == "model_not_found"
    assert isinstance(response.json()["error"], str)


async def test_the_repository_is_refused(bench):
    async with bench.client() as client:
        for path in ("index", "models/toy/load", "models/toy/unload"):
            response = await client.post(f"/v2/repository/{path}", json={})
            assert response.status_code == 405
            assert response.json()["code"] == "method_not_allowed"
            assert "repository" in response.json()["error"]


async def test_unknown_paths_and_methods_have_the_protocols_shape(bench):
    async with bench.client() as client:
        missing = await client.get("/v2/nowhere")
        wrong = await client.delete("/v2/health/live")
        elsewhere = await client.get("/v2nowhere")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert set(wrong.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert int(missing.headers["content-length"]) == len(missing.content)
    assert elsewhere.json()["error"]["code"] == "not_found"  # OpenAI's: it is not below /v2


async def test_routes_are_counted_by_template(bench):
    async with bench.client() as client:
        await client.post(INFER, json={"inputs": [PROMPT]})
    async with bench.client() as client:
        for name in ("toy", "a", "b/c"):
            await client.get(f"/v2/models/{name}")
    counted = 'mintmark_http_requests_total{method="%s",route="/v2/models/{model_name:path}%s"'
    assert bench.metric(counted % ("POST", "/infer")) == 1
    assert bench.metric(f'{counted % ("GET", "")},status="404"') == 2


PUBLIC = ["/v2", "/v2/health/live", "/v2/health/ready"]
CLOSED = [
    ("GET", "/v2/models"),
    *(
        (method, f"{base}{verb}")
        for base in ("/v2/models/toy", f"/v2/models/toy/versions/{REVISION}")
        for method, verb in (("GET", ""), ("GET", "/ready"), ("POST", "/infer"))
    ),
    ("POST", "/v2/repository/index"),
    ("POST", "/v2/repository/models/toy/load"),
    ("POST", "/v2/repository/models/toy/unload"),
]


async def test_only_probes_and_the_servers_metadata_need_no_key(bench):
    bench.access = keyed_access()
    async with bench.client() as client:
        for path in PUBLIC:
            assert (await client.get(path)).status_code == 200
        for method, path in CLOSED:
            response = await client.request(method, path)
            assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
        response = await client.post(INFER, json={"inputs": [PROMPT]}, headers=bearer(APP_KEY))
    assert response.status_code == 200


def test_the_list_of_closed_routes_is_complete(bench):
    app = bench.app()
    while hasattr(app, "_app"):
        app = app._app
    paths = {route.path for route in app._router.routes if route.path.startswith("/v2")}
    templates = {
        path.replace("/toy", "/{model_name:path}").replace(REVISION, "{model_version}")
        for _, path in CLOSED
    }
    assert paths == templates | set(PUBLIC)
