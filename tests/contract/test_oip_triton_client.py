"""NVIDIA's `tritonclient`, unmodified, works against both transports of the protocol."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from models.families.toy import toy_spec
from tests.oip_rpc_kit import oip_rpc_bench
from tests.rest_kit import rest_bench
from tests.rpc_kit import png

ROOT = Path(__file__).parents[2]


async def serve(bench) -> tuple[uvicorn.Server, asyncio.Task[None]]:
    server = uvicorn.Server(
        uvicorn.Config(bench.app(), port=0, log_config=None, lifespan="off", ws="none")
    )
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    return server, task


async def run_job(*arguments: object) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.triton_job",
        *map(str, arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, complaints = await process.communicate()
    assert process.returncode == 0, complaints.decode()
    results: dict[str, Any] = json.loads(printed)
    return results


@pytest.fixture
async def called(tmp_path):
    """Return what the client got of fakes, and the requests that the fakes were given."""
    picture = tmp_path / "picture.png"
    picture.write_bytes(png())
    with rest_bench() as rest:
        async with oip_rpc_bench() as rpc:
            server, task = await serve(rest)
            port = server.servers[0].sockets[0].getsockname()[1]
            results = await run_job(port, rpc.port, "toy", picture)
            server.should_exit = True
            await task
            yield results, {"http": rest.generate.requests, "grpc": rpc.generate.requests}


async def test_the_client_understands_every_answer(called):
    results, requests = called
    for transport in ("http", "grpc"):
        check_facts(results[transport]["facts"], transport)
        for form in ("binary", "json"):
            check_pictures(results[transport][form])
        check_refusals(results[transport]["refusals"], transport)
        check_requests(requests[transport])


def check_facts(facts, transport):
    assert facts["live"] is facts["ready"] is facts["model_ready"] is facts["version_ready"] is True
    if transport == "http":
        assert facts["unknown_ready"] is False
    else:
        assert facts["unknown_ready"]["status"] == "StatusCode.NOT_FOUND"
    assert facts["server"] == "mintmark"
    assert facts["extensions"] == ["binary_tensor_data"]
    assert {"PROMPT", "SEED", "INIT_IMAGE"} <= set(facts["inputs"])
    assert facts["shape"] == [-1]


def check_pictures(answer):
    assert answer["id"] == "call 1"
    assert [base64.b64decode(image) for image in answer["images"]] == [b"\x89PNG fake"] * 2
    assert answer["seeds"] == [5, 2**53 + 1]
    for provenance in answer["provenance"]:
        assert provenance["model_revision"] == toy_spec().revision
        assert provenance["mime_type"] == "image/webp"


def check_refusals(refusals, transport):
    statuses = {
        "http": {"invalid": "400", "missing": "404", "refused": "405"},
        "grpc": {
            "invalid": "StatusCode.INVALID_ARGUMENT",
            "missing": "StatusCode.NOT_FOUND",
            "refused": "StatusCode.UNIMPLEMENTED",
        },
    }[transport]
    assert refusals["unknown_input"]["status"] == statuses["invalid"]
    assert "'CFG' is not a known input" in refusals["unknown_input"]["message"]
    assert refusals["unknown_model"]["status"] == statuses["missing"]
    assert refusals["sequence"]["status"] == statuses["invalid"]
    assert "sequence" in refusals["sequence"]["message"]
    for verb in ("load", "unload", "index"):
        assert refusals[verb]["status"] == statuses["refused"]
        assert "no model repository" in refusals[verb]["message"]


def check_requests(requests):
    first, second, *_, edit = requests
    assert (first.prompt, second.prompt) == ("a red apple", "ein Käse")
    assert first.sampling.num_inference_steps == second.sampling.num_inference_steps == 3
    assert first.output.format.value == "webp"
    assert edit.source.originals[0].content == png()
    assert len(requests) == 5
