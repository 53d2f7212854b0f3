"""The same picture through each front door of a running server."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import httpx

from service.oip.generated import open_inference_grpc_pb2 as oip_pb
from service.oip.generated import open_inference_grpc_pb2_grpc as oip_grpc
from service.rpc.generated.mintmark.v1 import image_generation_pb2 as pb
from service.rpc.generated.mintmark.v1 import image_generation_pb2_grpc as pb_grpc
from tests.e2e.server import Server
from tests.oip_kit import tensor
from tests.oip_rpc_kit import typed

IMAGES = "/v1/images/generations"
ANSWER_S = 100.0


@dataclass(frozen=True)
class Wanted:
    """What every door can ask for in the same words."""

    prompt: str = "a red apple"
    seed: int = 7
    steps: int = 3

    def openai_body(self) -> dict[str, Any]:
        return {"prompt": self.prompt, "seed": self.seed, "num_inference_steps": self.steps}

    def oip_body(self) -> dict[str, Any]:
        return {
            "inputs": [
                tensor("PROMPT", "BYTES", [self.prompt]),
                tensor("SEED", "INT64", [self.seed]),
                tensor("STEPS", "INT32", [self.steps]),
            ]
        }

    def rpc_message(self) -> pb.GenerateRequest:
        return pb.GenerateRequest(
            prompt=self.prompt, seed=self.seed, num_inference_steps=self.steps
        )

    def oip_message(self, model: str) -> oip_pb.ModelInferRequest:
        return oip_pb.ModelInferRequest(
            model_name=model,
            inputs=[
                typed("PROMPT", "BYTES", bytes_contents=[self.prompt.encode()]),
                typed("SEED", "INT64", int64_contents=[self.seed]),
                typed("STEPS", "INT32", int_contents=[self.steps]),
            ],
        )


class Doors:
    """Clients of one server; use it as an async context manager.

    `draw`: by the name of a door, returns the digest of the pixels that came through it.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.model: str = httpx.get(f"{server.url}/v2/models").json()["models"][0]
        self.infer_path = f"/v2/models/{self.model}/infer"
        self.draw: Mapping[str, Callable[[Wanted], Awaitable[str]]] = {
            "openai": self._openai,
            "sse": self._sse,
            "grpc": self._grpc,
            "oip-http": self._oip_http,
            "oip-grpc": self._oip_grpc,
        }

    async def __aenter__(self) -> Doors:
        self.http = httpx.AsyncClient(base_url=self.server.url, timeout=ANSWER_S)
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.server.grpc_port}")
        self.rpc: Any = pb_grpc.ImageGenerationStub(self.channel)
        self.oip: Any = oip_grpc.GRPCInferenceServiceStub(self.channel)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.http.aclose()
        await self.channel.close(None)

    async def _openai(self, wanted: Wanted) -> str:
        answer = await self.http.post(IMAGES, json=wanted.openai_body())
        assert answer.status_code == 200, answer.text
        (image,) = answer.json()["data"]
        return str(image["pixels_sha256"])

    async def _sse(self, wanted: Wanted) -> str:
        body = {**wanted.openai_body(), "stream": True, "partial_images": 2}
        async with self.http.stream("POST", IMAGES, json=body) as answer:
            lines = [line async for line in answer.aiter_lines() if line.startswith("data: ")]
        events = [json.loads(line.removeprefix("data: ")) for line in lines]
        assert events[-1]["type"] == "image_generation.completed", events[-1]
        return str(events[-1]["pixels_sha256"])

    async def _grpc(self, wanted: Wanted) -> str:
        call = self.rpc.Generate(wanted.rpc_message(), timeout=ANSWER_S)
        events = [event async for event in call]
        assert events[-1].WhichOneof("event") == "done"
        (image,) = (event.image for event in events if event.WhichOneof("event") == "image")
        return str(image.image.pixels_sha256)

    async def _oip_http(self, wanted: Wanted) -> str:
        answer = await self.http.post(self.infer_path, json=wanted.oip_body())
        assert answer.status_code == 200, answer.text
        outputs = {output["name"]: output["data"] for output in answer.json()["outputs"]}
        return str(json.loads(outputs["PROVENANCE"][0])["pixels_sha256"])

    async def _oip_grpc(self, wanted: Wanted) -> str:
        answer = await self.oip.ModelInfer(wanted.oip_message(self.model), timeout=ANSWER_S)
        outputs = {output.name: output.contents.bytes_contents for output in answer.outputs}
        return str(json.loads(outputs["PROVENANCE"][0])["pixels_sha256"])
