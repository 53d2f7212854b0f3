"""Draw two pictures with the unmodified OpenAI client and write them to files.

python examples/openai_client.py [URL]
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path

from openai import BadRequestError, OpenAI


def main(url: str) -> None:
    client = OpenAI(base_url=f"{url}/v1", api_key="none")
    answer = client.images.generate(
        prompt="a panda, soft style, on a lavender background",
        n=2,
        output_format="png",
        # Not OpenAI's fields: they go into the body as they are.
        extra_body={"seed": 1, "num_inference_steps": 20, "scheduler": "dpmpp_2m"},
    )
    for index, item in enumerate(answer.data or []):
        path = Path(f"panda-{index}.png")
        path.write_bytes(base64.b64decode(item.b64_json or ""))
        extra = item.model_extra or {}
        print(path, "seed", extra["seed"], "output", extra["output_id"])

    try:
        client.images.generate(prompt="a panda", size="1024x1024")
    except BadRequestError as error:
        print("refused:", error.body)  # names the parameter and the sizes there are


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3000")
