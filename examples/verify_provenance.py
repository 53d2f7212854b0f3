"""Verify a picture as a stranger would: with the plain C2PA library and the served anchors.

python examples/verify_provenance.py PICTURE [URL]
"""

from __future__ import annotations

import json
import mimetypes
import sys
from pathlib import Path

import c2pa
import httpx


def main(path: Path, url: str) -> None:
    anchors = httpx.get(f"{url}/v1/provenance/trust-anchors").text
    settings = {"trust": {"trust_anchors": anchors}, "verify": {"verify_trust": True}}
    mime_type = mimetypes.guess_type(path.name)[0] or "image/png"
    with (
        c2pa.Context.from_dict(settings) as context,
        path.open("rb") as stream,
        c2pa.Reader(mime_type, stream, context=context) as reader,
    ):
        print("C2PA state:", reader.get_validation_state())
        manifest = reader.get_active_manifest()
        print("signed by:", manifest["signature_info"]["issuer"])
        for assertion in manifest["assertions"]:
            if assertion["label"] == "org.mintmark.generation":
                print(json.dumps(assertion["data"], indent=2))

    with path.open("rb") as stream:
        report = httpx.post(f"{url}/v1/images/verify", files={"image": stream}).json()
    print("the service says:", report["verdict"], f"({report['confidence']})")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:3000")  # noqa: PLR2004
