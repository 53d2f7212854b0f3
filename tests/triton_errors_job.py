"""Makes NVIDIA's client, unmodified, run into every error and prints what it raised as JSON.

A process of its own, for the reason given in `tests.triton_job`. The server raises the error whose
code is the prompt. Usage: `python -m tests.triton_errors_job HTTP_PORT GRPC_PORT MODEL CODES`.
"""

from __future__ import annotations

import json
import sys

import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from tests.triton_job import Driver


def raised(driver: Driver, code: str) -> dict[str, str]:
    """Return what the client raises when the server raises the error of this code."""
    try:
        driver.infer(driver.tensor("PROMPT", "BYTES", [code]))
    except InferenceServerException as error:
        return {"status": str(error.status()), "message": error.message()}
    raise AssertionError(f"{code}: the client raised nothing")


def main(arguments: list[str]) -> None:
    http_port, grpc_port, model, codes = arguments
    results = {}
    for module, port in ((tritonclient.http, http_port), (tritonclient.grpc, grpc_port)):
        driver = Driver(module, port, model)
        name = module.__name__.rpartition(".")[2]
        results[name] = {code: raised(driver, code) for code in json.loads(codes)}
        driver.client.close()
    sys.stdout.write(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1:])
