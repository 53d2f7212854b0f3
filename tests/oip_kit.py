"""Infer requests over HTTP as clients write them, and their answers as they read them."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import httpx

INFER = "/v2/models/toy/infer"
PROMPT = {"name": "PROMPT", "datatype": "BYTES", "shape": [1], "data": ["a red apple"]}


def tensor(name: str, datatype: str, data: list[Any], shape: list[int] | None = None):
    """Return one input with its elements in JSON."""
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}


def raw_bytes(*elements: bytes) -> bytes:
    """Return the raw form of BYTES."""
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def raw_tensor(name: str, datatype: str, count: int, content: bytes):
    """Return one input without its elements, which are `content` in a binary section."""
    return {
        "name": name,
        "datatype": datatype,
        "shape": [count],
        "parameters": {"binary_data_size": len(content)},
    }


def binary_request(members: dict[str, Any], *sections: bytes) -> dict[str, Any]:
    """Return the arguments of `client.post` for JSON with binary sections behind it."""
    text = json.dumps(members).encode()
    headers = {
        "Inference-Header-Content-Length": str(len(text)),
        "Content-Type": "application/octet-stream",
    }
    return {"content": text + b"".join(sections), "headers": headers}


@dataclass
class Answer:
    """The JSON of an answer, and its binary sections by output."""

    json: dict[str, Any]
    sections: dict[str, bytes]

    def output(self, name: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = [
            output for output in self.json["outputs"] if output["name"] == name
        ]
        assert len(found) == 1
        return found[0]

    def elements(self, name: str) -> list[bytes]:
        """Return the elements of a BYTES output that came in binary."""
        content, elements = self.sections[name], []
        while content:
            (length,) = struct.unpack_from("<I", content)
            elements.append(content[4 : 4 + length])
            content = content[4 + length :]
        return elements


def read_answer(response: httpx.Response) -> Answer:
    assert response.status_code == 200, response.text
    assert int(response.headers["content-length"]) == len(response.content)
    length = int(response.headers.get("inference-header-content-length", len(response.content)))
    members, content, sections = (
        json.loads(response.content[:length]),
        response.content[length:],
        {},
    )
    for output in members["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is not None:
            assert "data" not in output
            sections[output["name"]], content = content[:size], content[size:]
    assert content == b""
    return Answer(members, sections)
