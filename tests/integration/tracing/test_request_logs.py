"""What the log says of a request, and that nobody's words are in it, in a span or a metric."""

from __future__ import annotations

import json
import logging

import pytest

from tests.fakes import BlindWatermarker
from tests.otlp_kit import BODY, CANARY, STOPS, TRACE, TRACEPARENT, traced_server
from tests.rest_kit import IMAGES


@pytest.mark.parametrize(
    ("ratio", "headers", "is_kept"),
    [
        (0.0, {}, False),
        (0.0, {"traceparent": TRACEPARENT}, True),
        (1.0, {"traceparent": TRACEPARENT[:-1] + "0"}, False),
        (1.0, {"traceparent": "garbage"}, True),
    ],
)
async def test_the_caller_decides_for_its_trace_and_the_ratio_for_others(
    collector, log, ratio, headers, is_kept
):
    options = {**collector.options, "trace_sample_ratio": ratio}
    async with traced_server(**options) as server, server.client() as client:
        await client.get("/v1/models", headers=headers)
    assert bool(collector.spans) == is_kept
    assert len(log[-1]["trace_id"]) == 32  # in the log whether it is kept or not


async def test_the_last_line_of_a_request_has_its_ids_and_says_where_time_went(collector, log):
    headers = {"traceparent": TRACEPARENT, "x-request-id": "mine"}
    async with traced_server(**collector.options) as server, server.client() as client:
        await client.post(IMAGES, json=BODY, headers=headers)
    (answered,) = [line for line in log if line["message"] == "answered"]
    assert answered["request_id"] == "mine"
    assert answered["trace_id"] == TRACE
    assert (answered["route"], answered["outcome"]) == (IMAGES, "done")
    for stop in STOPS:
        assert 0 <= answered[f"{stop}_ms"] <= answered["duration_ms"] + 0.1


async def test_threads_that_mark_log_under_the_request(collector, log):
    class TalkingWatermarker(BlindWatermarker):
        def embed(self, *arguments, **options):
            logging.getLogger("service.x").info("marking")
            return super().embed(*arguments, **options)

    headers = {"traceparent": TRACEPARENT, "x-request-id": "mine"}
    options = {**collector.options, "watermarker": TalkingWatermarker()}
    async with traced_server(**options) as server, server.client() as client:
        await client.post(IMAGES, json=BODY, headers=headers)
    marking = [line for line in log if line["message"] == "marking"]
    assert marking
    assert {(line["request_id"], line["trace_id"]) for line in marking} == {("mine", TRACE)}


async def test_an_untraced_server_logs_outcomes_and_no_trace(log):
    async with traced_server() as server, server.client() as client:
        await client.post(IMAGES, json=BODY, headers={"traceparent": TRACEPARENT})
        await client.post(IMAGES, json={"prompt": ""})
    done, refused = [line for line in log if line["message"] == "answered"]
    assert (done["outcome"], refused["outcome"]) == ("done", "invalid_request")
    assert "denoise_ms" in done
    assert "denoise_ms" not in refused
    assert "trace_id" not in done


@pytest.mark.parametrize("is_wanted", [False, True])
async def test_prompts_are_in_no_log_line_span_or_metric_unless_asked_for(
    collector, log, is_wanted
):
    options = {**collector.options, "log_prompts": is_wanted}
    body = {**BODY, "negative_prompt": CANARY}
    async with traced_server(**options) as server, server.client() as client:
        assert (await client.post(IMAGES, json=body)).status_code == 200
        assert (await client.post(IMAGES, json={**body, "size": CANARY})).status_code == 400
        assert (await client.post(f"/{CANARY}?q={CANARY}")).status_code == 404
    told = [line["message"] for line in log if CANARY in json.dumps(line)]
    assert told == (["prompt"] if is_wanted else [])
    assert collector.spans
    assert CANARY not in "".join(str(each.span) for each in collector.spans)
    assert CANARY not in server.metrics.exposition().decode()
