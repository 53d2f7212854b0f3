"""A peer answers what the load asks, with the same picture that the stock pipeline draws."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from loadtests.peers.servers.plain import build_app
from loadtests.peers.servers.stock_pipeline import StockPipeline
from loadtests.peers.servers.wire import GENERATIONS, READY, ImagesRequest


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    threads = torch.get_num_threads()
    with TestClient(build_app(num_threads=1)) as made:
        yield made
    torch.set_num_threads(threads)


def test_a_request_is_answered_with_a_picture_in_openais_shape(client):
    body = {"prompt": "a red apple", "seed": 7, "num_inference_steps": 1, "model": "ignored"}

    answer = client.post(GENERATIONS, json=body).json()

    (item,) = answer["data"]
    picture = Image.open(io.BytesIO(base64.b64decode(item["b64_json"])))
    assert (picture.format, picture.size) == ("PNG", (64, 64))
    assert client.get(READY).status_code == 200


def test_what_a_peer_does_not_do_is_refused_and_not_done_differently(client):
    for asked in ({"n": 2}, {"output_format": "webp"}, {"response_format": "url"}):
        answer = client.post(GENERATIONS, json={"prompt": "a red apple", **asked})

        assert answer.status_code == 422


def test_requests_that_differ_in_steps_get_their_own_pictures_in_order(client):
    pipeline = StockPipeline(num_threads=1)
    asked = [
        ImagesRequest(prompt="a red apple", seed=seed, num_inference_steps=steps)
        for seed, steps in ((1, 1), (2, 2), (3, 1))
    ]

    together = pipeline.draw(asked)
    alone = [pipeline.draw([each])[0] for each in asked]

    for ours, theirs in zip(together, alone, strict=True):
        first, second = (Image.open(io.BytesIO(png)).convert("RGB") for png in (ours, theirs))
        differences = [abs(a - b) for a, b in zip(first.tobytes(), second.tobytes(), strict=True)]
        assert max(differences) <= 2
    assert len(set(together)) == 3
