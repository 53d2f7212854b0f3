"""Draw a picture over gRPC, watch it appear, and ask where it comes from.

python examples/grpc_generate.py [HOST:PORT]
"""

from __future__ import annotations

import sys
from pathlib import Path

from service.client import (
    Accepted,
    Done,
    FinishedImage,
    GenerateOptions,
    InvalidArgument,
    MintmarkClient,
    Preview,
    Progress,
)


def main(target: str) -> None:
    with MintmarkClient(target) as client:
        options = GenerateOptions(seed=7, num_inference_steps=20, partial_images=2)
        # Leaving this loop early would stop the work on the server.
        for event in client.stream("a rocket, soft style, on a navy background", options):
            match event:
                case Accepted():
                    print(f"accepted as {event.request_id}")
                case Progress():
                    print(f"step {event.steps_done} of {event.steps_total}")
                case Preview():
                    save(f"rocket-preview-{event.partial_index}.png", event.picture.content)
                case FinishedImage():
                    save(f"rocket-{event.image_index}.png", event.picture.content)
                    report = client.verify(event.picture.content)
                    print(f"the service says: {report.verdict} ({report.confidence})")
                case Done():
                    print("done by", event.model, *event.warnings)

        try:
            client.generate("a rocket", GenerateOptions(size_px=(1024, 1024)), deadline_s=30)
        except InvalidArgument as error:
            print(f"refused: {error} (field {error.param}, code {error.code})")


def save(name: str, content: bytes) -> None:
    Path(name).write_bytes(content)
    print(name)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:3001")
