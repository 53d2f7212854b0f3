"""Draw two pictures with NVIDIA's Triton client, over HTTP or gRPC.

pip install tritonclient geventhttpclient
python examples/tritonclient_infer.py http 127.0.0.1:3000
python examples/tritonclient_infer.py grpc 127.0.0.1:3001 mintmark-emoji-64
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
from tritonclient.utils import InferenceServerException


def main(
    transport: str = "http", target: str = "127.0.0.1:3000", model: str = "mintmark-emoji-64"
) -> None:
    triton = importlib.import_module(f"tritonclient.{transport}")
    client = triton.InferenceServerClient(target)
    metadata = client.get_model_metadata(model)
    print("server ready:", client.is_server_ready(), "- model:", metadata)

    def tensor(name: str, datatype: str, values: list[object], dtype: object) -> object:
        made = triton.InferInput(name, [len(values)], datatype)
        made.set_data_from_numpy(np.array(values, dtype))
        return made

    inputs = [
        tensor("PROMPT", "BYTES", ["a red apple", "a rocket, soft style"], object),
        tensor("SEED", "INT64", [7, 8], np.int64),
        tensor("STEPS", "INT32", [20], np.int32),  # one element goes for all prompts
    ]
    answer = client.infer(model, inputs, parameters={"output_format": "webp"}, request_id="demo")
    provenance = [json.loads(each) for each in answer.as_numpy("PROVENANCE")]
    for index, content in enumerate(answer.as_numpy("IMAGE")):
        path = Path(f"triton-{index}.webp")
        path.write_bytes(content)
        print(path, provenance[index]["output_id"], provenance[index]["pixels_sha256"])

    try:
        client.infer(model, [*inputs, tensor("CFG", "FP32", [7.5], np.float32)])
    except InferenceServerException as error:
        print("refused:", error)


if __name__ == "__main__":
    main(*sys.argv[1:])
