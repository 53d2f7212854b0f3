"""Draw, edit and watch pictures with the unmodified OpenAI client; write them to files.

python examples/openai_client.py [URL]
MM_API_KEY holds the key, where the service has keys.
"""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path

from openai import BadRequestError, OpenAI
from openai.types import ImageGenCompletedEvent


def generate(client: OpenAI) -> Path:
    answer = client.images.generate(
        prompt="a panda, soft style, on a lavender background",
        n=2,
        quality="high",
        output_format="png",
        # Not OpenAI's fields: they go into the body as they are.
        extra_body={"seed": 1, "scheduler": "dpmpp_2m"},
    )
    paths = []
    for index, item in enumerate(answer.data or []):
        paths.append(write(f"panda-{index}.png", item.b64_json))
        extra = item.model_extra or {}
        print(paths[-1], "seed", extra["seed"], "output", extra["output_id"])
    return paths[0]


def edit(client: OpenAI, picture: Path) -> None:
    answer = client.images.edit(
        image=picture,
        prompt="a panda, flat style, on a white background",
        extra_body={"strength": 0.6},
    )
    for item in answer.data or []:
        print(write("panda-edited.png", item.b64_json), "made from", picture)


def watch(client: OpenAI) -> None:
    stream = client.images.generate(
        prompt="a rocket, soft style, on a navy background", stream=True, partial_images=3
    )
    for event in stream:
        if isinstance(event, ImageGenCompletedEvent):
            print(write("rocket.png", event.b64_json), event.usage.total_tokens, "tokens")
        else:
            print(write(f"rocket-{event.partial_image_index}.png", event.b64_json), "unfinished")


def write(name: str, b64_json: str | None) -> Path:
    path = Path(name)
    path.write_bytes(base64.b64decode(b64_json or ""))
    return path


def main(url: str) -> None:
    key = os.environ.get("MM_API_KEY", "none")  # noqa: TID251 - not the service
    client = OpenAI(base_url=f"{url}/v1", api_key=key)
    edit(client, generate(client))
    watch(client)
    try:
        client.images.generate(prompt="a panda", size="1024x1024")
    except BadRequestError as error:
        print("refused:", error.body)  # names the parameter and the sizes there are


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3000")
