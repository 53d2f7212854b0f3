"""Calls a server with NVIDIA's own client, unmodified, and prints what came back as JSON.

A process of its own, because the client registers the protocol's messages under the same names as
the server does. Usage: `python -m tests.triton_job HTTP_PORT GRPC_PORT MODEL PNG_PATH`.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

Results = dict[str, Any]


class Driver:
    """The two clients are alike but for the options of their tensors."""

    def __init__(self, module: Any, port: str, model: str) -> None:
        self.module = module
        self.is_http = module is tritonclient.http
        self.client = module.InferenceServerClient(f"127.0.0.1:{port}")
        self.model = model

    def tensor(self, name: str, datatype: str, data: Any, *, is_binary: bool = True) -> Any:
        array = np.array(data, {"BYTES": object, "INT64": np.int64, "INT32": np.int32}[datatype])
        tensor = self.module.InferInput(name, array.shape, datatype)
        if self.is_http:
            tensor.set_data_from_numpy(array, binary_data=is_binary)
        else:
            tensor.set_data_from_numpy(array)
        return tensor

    def output(self, name: str, *, is_binary: bool) -> Any:
        options = {"binary_data": is_binary} if self.is_http else {}
        return self.module.InferRequestedOutput(name, **options)

    def infer(self, *inputs: Any, **options: Any) -> Any:
        return self.client.infer(self.model, list(inputs), **options)


def facts(driver: Driver) -> Results:
    """Return what the server says of itself and its model, as plain values."""
    client = driver.client
    model = client.get_model_metadata(driver.model, **({} if driver.is_http else {"as_json": True}))
    server = client.get_server_metadata(**({} if driver.is_http else {"as_json": True}))
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready(driver.model),
        "version_ready": client.is_model_ready(driver.model, model["versions"][0]),
        "unknown_ready": _try(lambda: client.is_model_ready("nope")),
        "server": server["name"],
        "extensions": server["extensions"],
        "inputs": [tensor["name"] for tensor in model["inputs"]],
        "shape": [int(size) for size in model["outputs"][0]["shape"]],
    }


def pictures(driver: Driver, *, is_binary: bool) -> Results:
    """Return two pictures, with seeds of their own, in binary or in JSON."""
    outputs = None
    if driver.is_http and not is_binary:
        outputs = [driver.output(name, is_binary=False) for name in ("IMAGE", "SEED_USED")]
        outputs.append(driver.output("PROVENANCE", is_binary=True))
    answer = driver.infer(
        driver.tensor("PROMPT", "BYTES", [["a red apple"], ["ein Käse"]], is_binary=is_binary),
        driver.tensor("SEED", "INT64", [5, 2**53 + 1], is_binary=is_binary),
        driver.tensor("STEPS", "INT32", [3], is_binary=is_binary),
        request_id="call 1",
        outputs=outputs,
        parameters={"output_format": "webp"},
    )
    images = answer.as_numpy("IMAGE")
    if not is_binary and driver.is_http:
        images = np.array([base64.b64decode(image) for image in images], object)
    return _plain(driver, answer, images)


def edited(driver: Driver, picture: bytes) -> Results:
    """Return one picture made from `picture`."""
    answer = driver.infer(
        driver.tensor("PROMPT", "BYTES", ["a red apple"]),
        driver.tensor("INIT_IMAGE", "BYTES", [picture]),
        driver.tensor("STEPS", "INT32", [4]),
    )
    return _plain(driver, answer, answer.as_numpy("IMAGE"))


def refusals(driver: Driver) -> Results:
    """Return how the client reports what it asked for in vain."""
    client, prompt = driver.client, driver.tensor("PROMPT", "BYTES", ["x"])
    return {
        "unknown_input": _try(lambda: driver.infer(prompt, driver.tensor("CFG", "INT32", [1]))),
        "unknown_model": _try(lambda: client.infer("nope", [prompt])),
        "sequence": _try(lambda: driver.infer(prompt, sequence_id=3)),
        "load": _try(lambda: client.load_model(driver.model)),
        "unload": _try(lambda: client.unload_model(driver.model)),
        "index": _try(client.get_model_repository_index),
    }


def _plain(driver: Driver, answer: Any, images: Any) -> Results:
    response = answer.get_response()
    return {
        "id": response.get("id", "") if driver.is_http else response.id,
        "images": [base64.b64encode(image).decode() for image in images],
        "seeds": answer.as_numpy("SEED_USED").tolist(),
        "provenance": [json.loads(each) for each in answer.as_numpy("PROVENANCE")],
    }


def _try(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except InferenceServerException as error:
        return {"status": error.status(), "message": error.message()}


def main(arguments: list[str]) -> None:
    http_port, grpc_port, model, picture_path = arguments
    picture = Path(picture_path).read_bytes()
    results = {}
    for module, port in ((tritonclient.http, http_port), (tritonclient.grpc, grpc_port)):
        driver = Driver(module, port, model)
        results[module.__name__.rpartition(".")[2]] = {
            "facts": facts(driver),
            "binary": pictures(driver, is_binary=True),
            "json": pictures(driver, is_binary=False),
            "edited": edited(driver, picture),
            "refusals": refusals(driver),
        }
        driver.client.close()
    sys.stdout.write(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1:])
