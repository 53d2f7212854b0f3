"""Answers say what their pictures took where hardware counts it, and nothing elsewhere."""

from __future__ import annotations

import json

import pytest

from service.domain.result import RequestEnergy
from service.rest.openapi_answers import ImageCompletedEvent, ImagesResponse
from tests.rest_kit import IMAGES

ENERGY = RequestEnergy(joules=5.00049, sources=("rapl:package-0", "nvml:0"))
SAID = {"joules": 5.0, "joules_per_image": 2.5, "sources": ["rapl:package-0", "nvml:0"]}


async def completed_events(bench, **fields):
    async with bench.client() as client:
        response = await client.post(IMAGES, json={"prompt": "x", "stream": True, **fields})
    lines = [line for line in response.text.splitlines() if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


async def test_an_answer_says_what_its_pictures_took(bench):
    bench.generate.energy = ENERGY
    async with bench.client() as client:
        answer = (await client.post(IMAGES, json={"prompt": "x", "n": 2})).json()
    ImagesResponse.model_validate(answer)
    assert answer["energy"] == SAID


async def test_the_last_picture_of_a_stream_says_it_for_all(bench):
    bench.generate.energy = ENERGY
    events = await completed_events(bench, n=2)
    for event in events:
        ImageCompletedEvent.model_validate(event)
    assert [event.get("energy") for event in events] == [None, SAID]


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_where_nothing_counts_it_the_field_is_absent(bench, is_streamed):
    if is_streamed:
        (answer,) = await completed_events(bench)
    else:
        async with bench.client() as client:
            answer = (await client.post(IMAGES, json={"prompt": "x"})).json()
    assert "energy" not in answer
