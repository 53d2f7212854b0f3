"""`mintmark generate PROMPT`: a picture from a running service, with progress meanwhile."""

from __future__ import annotations

import base64
import contextlib
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import httpx

from service.cli.api_key import api_key_option
from service.cli.picture_stream import stream_pictures
from service.cli.service_client import DEFAULT_URL, answer, open_client, unreachable
from service.domain.identity import new_request_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.domain.identity import RequestId

Result = TypeVar("Result")

_POLL_S = 0.2
_SUFFIXES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


@click.command()
@click.argument("prompt")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True)
@click.option("--url", default=DEFAULT_URL, show_default=True, help="Where the service is.")
@click.option("--model", help="The model to use; by default the service's own.")
@click.option("--negative", "negative_prompt", help="What the picture should not show.")
@click.option("--n", type=int, help="How many pictures; several get numbered names.")
@click.option("--size", help="WIDTHxHEIGHT in pixels.")
@click.option("--seed", type=int, help="Repeats a picture; picture i takes seed + i.")
@click.option("--steps", "num_inference_steps", type=int)
@click.option("--guidance", "guidance_scale", type=float)
@click.option("--scheduler", help="The noise scheduler.")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(sorted(set(_SUFFIXES.values()))),
    help="By default what the output file's suffix says.",
)
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@click.option("--stream", is_flag=True, help="Show unfinished states in the file meanwhile.")
@api_key_option
def generate(
    output: Path, url: str, api_key: str | None, *, force: bool, stream: bool, **fields: Any
) -> None:
    """Draw PROMPT and write it to a file."""
    body = {name: value for name, value in fields.items() if value is not None}
    body.setdefault("output_format", _SUFFIXES.get(output.suffix.lower(), "png"))
    paths = output_paths(output, body.get("n", 1))
    _refuse_overwriting(paths, force=force)
    request_id = new_request_id()
    with open_client(url, api_key=api_key) as client:
        draw = (
            _streaming(client, body, request_id, paths)
            if stream
            else _posting(client, body, request_id)
        )
        try:
            with _progress_bar() as show:
                images = run_and_watch(client, request_id, draw, show)
        except httpx.TransportError as error:
            raise unreachable(url, error) from error
    for path, item in zip(paths, images["data"], strict=True):
        _write(path, base64.b64decode(item["b64_json"]))
        click.echo(
            f"{path}  seed {item['seed']}  output {item['output_id']}  "
            f"watermark {item['watermark_id']}  manifest {item['manifest_id']}"
        )
    for warning in images["warnings"]:
        click.echo(f"Warning: {warning}", err=True)
    click.echo(f"Signed and watermarked. Check with: mintmark verify {paths[0]}")


def output_paths(output: Path, count: int) -> list[Path]:
    """Return where `count` pictures go: the path itself, or `name-1.png` and so on."""
    if count <= 1:
        return [output]
    return [output.with_stem(f"{output.stem}-{number}") for number in range(1, count + 1)]


def run_and_watch(
    client: httpx.Client,
    request_id: RequestId,
    call: Callable[[], Result],
    show: Callable[[dict[str, Any]], None],
) -> Result:
    """Make the call and hand the request's progress to `show` meanwhile; return its result.

    An interrupt cancels the request, so that the service does not go on for nobody.
    """
    pool = ThreadPoolExecutor(1)
    result = pool.submit(call)
    try:
        while not wait([result], timeout=_POLL_S).done:
            progress = client.get(f"/v1/requests/{request_id}")
            if progress.is_success:
                show(progress.json())
        return result.result()
    except KeyboardInterrupt:
        with contextlib.suppress(httpx.TransportError):
            client.post(f"/v1/requests/{request_id}/cancel")
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _posting(
    client: httpx.Client, body: dict[str, Any], request_id: RequestId
) -> Callable[[], dict[str, Any]]:
    headers = {"x-request-id": request_id}
    return lambda: answer(client.post("/v1/images/generations", json=body, headers=headers))


def _streaming(
    client: httpx.Client, body: dict[str, Any], request_id: RequestId, paths: list[Path]
) -> Callable[[], dict[str, Any]]:
    """Return a call that keeps the files at `paths` up to date, and takes them away if it fails."""
    shown: set[Path] = set()

    def show(index: int, content: bytes) -> None:
        _write(paths[index], content)
        shown.add(paths[index])

    def draw() -> dict[str, Any]:
        try:
            return stream_pictures(client, body, {"x-request-id": request_id}, show)
        except BaseException:
            for path in shown:  # what is not finished must not look as if it were
                path.unlink(missing_ok=True)
            raise

    return draw


@contextlib.contextmanager
def _progress_bar() -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a function that shows a snapshot; it shows nothing unless stderr is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - slow, and only wanted here
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("waiting", total=None)

        def show(progress: dict[str, Any]) -> None:
            words = str(progress["phase"])
            if progress["queue_position"]:
                words += f", {progress['queue_position']} ahead"
            bar.update(
                task,
                description=words,
                total=progress["steps_total"],
                completed=progress["steps_done"],
            )

        yield show


def _refuse_overwriting(paths: list[Path], *, force: bool) -> None:
    for path in paths:
        if path.exists() and not force:
            raise click.ClickException(f"{path} exists. Use --force to overwrite it.")
        if not path.parent.is_dir():
            raise click.ClickException(f"There is no folder {path.parent}.")


def _write(path: Path, content: bytes) -> None:
    """Write the whole file or none of it: whoever looks at it meanwhile sees a picture."""
    draft = path.with_name(f".{path.name}.part")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise click.ClickException(f"{path} cannot be written: {error.strerror}.") from error
