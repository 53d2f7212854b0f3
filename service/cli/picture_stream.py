"""Reading a stream of pictures: unfinished ones as they come, finished ones at the end."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import click

from service.cli.service_client import answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import httpx

_DATA = "data:"
_PREVIEWS = 3


def stream_pictures(
    client: httpx.Client,
    body: dict[str, Any],
    headers: dict[str, str],
    on_preview: Callable[[int, bytes], None],
) -> dict[str, Any]:
    """Post the request and return what it would answer without a stream: items and warnings.

    `on_preview` is given the number of the picture, from 0, and an unfinished state of it.
    Raises click.ClickException with the service's own message, whenever the service fails.
    """
    wanted = {**body, "stream": True, "partial_images": _PREVIEWS}
    with client.stream("POST", "/v1/images/generations", json=wanted, headers=headers) as response:
        if not response.is_success:
            response.read()
            answer(response)
        return collect(response.iter_lines(), on_preview)


def collect(lines: Iterable[str], on_preview: Callable[[int, bytes], None]) -> dict[str, Any]:
    """Return the finished pictures of a stream's lines in their order, and its warnings.

    Raises click.ClickException for an error within it, and if it breaks off.
    """
    finished: dict[int, dict[str, Any]] = {}
    warnings: list[str] | None = None
    for line in lines:
        if not line.startswith(_DATA):
            continue
        event = json.loads(line.removeprefix(_DATA))
        if "error" in event:
            raise click.ClickException(event["error"]["message"])
        if event["type"].endswith(".partial_image"):
            on_preview(event["image_index"], base64.b64decode(event["b64_json"]))
        elif event["type"].endswith(".completed"):
            finished[event["image_index"]] = event
            warnings = event.get("warnings", warnings)
    if warnings is None:  # the last picture has them
        raise click.ClickException("The service broke the stream off.")
    return {"data": [finished[index] for index in sorted(finished)], "warnings": warnings}
