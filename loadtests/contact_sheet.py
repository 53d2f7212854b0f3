"""A contact sheet of sixteen prompts, drawn through the HTTP API of a running service.

Each picture is checked before it is shown: the service itself must recognise it.
"""

from __future__ import annotations

import argparse
import base64
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from PIL import Image, ImageDraw

PROMPTS = (
    "a cat, 3d style, on a sky blue background",
    "an apple, flat style, on a white background",
    "a dog, soft style, on a yellow background",
    "a frog, flat style, on a beige background",
    "a pizza, soft style, on a navy background",
    "a penguin, 3d style, on a pink background",
    "a blue heart, flat style, on a mint background",
    "a rocket, soft style, on a navy background",
    "a sunflower, 3d style, on a teal background",
    "a hamburger, flat style, on an orange background",
    "a panda, soft style, on a lavender background",
    "a strawberry, flat style, on a green background",
    "a fish, 3d style, on a sky blue background",
    "a house, soft style, on a gray background",
    "a purple car, flat style, on a yellow background",
    "a pumpkin, 3d style, on a teal background",
)
_COLUMNS = 4
_TILE_PX = 192
_CAPTION_PX = 30


def draw_picture(client: httpx.Client, prompt: str, seed: int) -> tuple[Image.Image, str]:
    """Return one picture and the verdict of the service on it."""
    answer = client.post("/v1/images/generations", json={"prompt": prompt, "seed": seed})
    answer.raise_for_status()
    content = base64.b64decode(answer.json()["data"][0]["b64_json"])
    report = client.post("/v1/images/verify", files={"image": ("picture.png", content)})
    report.raise_for_status()
    verdict: dict[str, Any] = report.json()
    return Image.open(io.BytesIO(content)).convert("RGB"), str(verdict["verdict"])


def compose(pictures: list[tuple[str, Image.Image]]) -> Image.Image:
    """Lay captioned pictures out in a grid, enlarged without smoothing."""
    rows = -(-len(pictures) // _COLUMNS)
    size = (_COLUMNS * _TILE_PX, rows * (_TILE_PX + _CAPTION_PX))
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for index, (prompt, picture) in enumerate(pictures):
        left = index % _COLUMNS * _TILE_PX
        top = index // _COLUMNS * (_TILE_PX + _CAPTION_PX)
        enlarged = picture.resize((_TILE_PX, _TILE_PX), Image.Resampling.NEAREST)
        sheet.paste(enlarged, (left, top))
        subject, _, rest = prompt.partition(", ")
        pen.text((left + 4, top + _TILE_PX + 2), f"{subject},\n{rest}", fill="black", font_size=10)
    return sheet


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:3000")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with (
        httpx.Client(base_url=arguments.url, timeout=120.0) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        drawn = list(pool.map(lambda p: draw_picture(client, p, arguments.seed), PROMPTS))
    for prompt, (_, verdict) in zip(PROMPTS, drawn, strict=True):
        if verdict != "ai_generated_by_us":
            raise SystemExit(f"{prompt!r} came back as {verdict}")
    pictures = [(prompt, picture) for prompt, (picture, _) in zip(PROMPTS, drawn, strict=True)]
    compose(pictures).save(arguments.output, optimize=True)
    print(f"{len(pictures)} pictures, all recognised by the service: {arguments.output}")


if __name__ == "__main__":
    main()
