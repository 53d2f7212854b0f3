"""Asks over HTTP, as OpenAI's Images API has it, with or without a stream.

aiohttp and not httpx: the generator shares the machine with the server under test, and should take
as little of it as it can.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import aiohttp

from loadtests.harness.request import ImageRequest, Kind, Outcome, kind_of_status
from loadtests.harness.telemetry import parse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from aiohttp.client_reqrep import ClientResponse

    from loadtests.harness.telemetry import Reading

GENERATIONS = "/v1/images/generations"
VERIFY = "/v1/images/verify"
# Below the server's (uvicorn: 5 s), so that no request goes out on a connection about to be closed.
_KEEP_ALIVE_S = 2.0
_SLOW_BUFFER_BYTES = 4096
_SLOW_TURNS_PER_S = 20


class HttpTarget:
    """One server; use it as an async context manager. It is also a Telemetry and a Verifier.

    `base_url`: without a path. `model`: sent if given. `api_key`: a bearer token.
    """

    def __init__(
        self, base_url: str, *, model: str | None = None, api_key: str | None = None
    ) -> None:
        self._url = base_url.rstrip("/")
        self._model = model
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}

    async def __aenter__(self) -> Self:
        """Open both pools: of clients who read as fast as they can, and of those who do not."""
        quick = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S)
        # Small buffers, or the kernel would take a slow client's whole answer at once.
        slow = aiohttp.TCPConnector(limit=0, force_close=True, socket_factory=_small_socket)
        self._quick = self._session(quick)
        self._slow = self._session(slow)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection."""
        await self._quick.close()
        await self._slow.close()

    async def send(self, request: ImageRequest) -> Outcome:
        """Ask once, without retries, and return what became of it."""
        session = self._quick if request.read_bytes_per_s is None else self._slow
        began_s = asyncio.get_running_loop().time()
        try:
            async with session.post(
                f"{self._url}{GENERATIONS}",
                json=_body(request, self._model),
                read_bufsize=2**16 if request.read_bytes_per_s is None else _SLOW_BUFFER_BYTES,
            ) as response:
                if response.status != 200:
                    return await _refusal(response)
                if request.is_streamed:
                    return await _streamed(response, request, began_s)
                return _answered(await _whole(response, request.read_bytes_per_s), request)
        except aiohttp.ClientConnectorError:
            return Outcome(kind=Kind.FAILED, code="connection_failed")
        except (aiohttp.ClientError, ConnectionError):
            return Outcome(kind=Kind.FAILED, code="connection_lost")

    async def read(self) -> Reading:
        """Return every series of `/metrics`; none if the server has no such route."""
        async with self._quick.get(f"{self._url}/metrics") as response:
            return parse(await response.text()) if response.status == 200 else {}

    async def verdict(self, content: bytes) -> str:
        """Return "verdict/confidence" over a file. Raises aiohttp.ClientResponseError."""
        form = aiohttp.FormData()
        form.add_field("image", content, filename="image")
        async with self._quick.post(f"{self._url}{VERIFY}", data=form) as response:
            response.raise_for_status()
            report = await response.json()
            return f"{report['verdict']}/{report['confidence']}"

    async def is_ready(self) -> bool:
        """Return whether the server takes work."""
        try:
            async with self._quick.get(f"{self._url}/readyz") as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError):
            return False

    def _session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        # The generator has its own limits of time.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=None, sock_read=None)
        return aiohttp.ClientSession(connector=connector, headers=self._headers, timeout=timeout)


def _small_socket(address: Any) -> socket.socket:
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SLOW_BUFFER_BYTES)
    return made


def _body(request: ImageRequest, model: str | None) -> dict[str, Any]:
    """Return what is sent: only what the request says."""
    size = None if request.size_px is None else "{}x{}".format(*request.size_px)
    said = {
        "model": model,
        "prompt": request.prompt,
        "seed": request.seed,
        "n": request.n,
        "size": size,
        "num_inference_steps": request.num_inference_steps,
        "guidance_scale": request.guidance_scale,
        "scheduler": request.scheduler,
        "output_format": request.output_format,
        "response_format": None if request.is_streamed else "b64_json",
        "stream": True if request.is_streamed else None,
        "partial_images": request.partial_images if request.is_streamed else None,
    }
    return {name: value for name, value in said.items() if value is not None}


async def _refusal(response: ClientResponse) -> Outcome:
    code = _code(await response.read()) or f"http_{response.status}"
    return Outcome(kind=kind_of_status(response.status, code), code=code)


def _code(body: bytes) -> str:
    """Return the code of an error in OpenAI's shape, or ""."""
    try:
        return str(json.loads(body)["error"]["code"] or "")
    except (ValueError, TypeError, KeyError):
        return ""


async def _chunks(response: ClientResponse, bytes_per_s: int | None) -> AsyncIterator[bytes]:
    """Yield the body, at no more than a rate if there is one."""
    if bytes_per_s is None:
        async for chunk in response.content.iter_any():
            yield chunk
        return
    while chunk := await response.content.read(max(1, bytes_per_s // _SLOW_TURNS_PER_S)):
        yield chunk
        await asyncio.sleep(len(chunk) / bytes_per_s)


async def _whole(response: ClientResponse, bytes_per_s: int | None) -> bytes:
    return b"".join([chunk async for chunk in _chunks(response, bytes_per_s)])


def _answered(body: bytes, request: ImageRequest) -> Outcome:
    try:
        pictures = tuple(_decoded(item) for item in json.loads(body)["data"])
    except (ValueError, TypeError, KeyError):
        return Outcome(kind=Kind.FAILED, code="bad_answer")
    return _complete(pictures, request)


def _decoded(item: dict[str, Any]) -> bytes:
    """Return a picture. Raises ValueError or KeyError if it is not there."""
    try:
        return base64.b64decode(item["b64_json"], validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def _complete(
    pictures: tuple[bytes, ...], request: ImageRequest, first_event_s: float | None = None
) -> Outcome:
    if len(pictures) != request.n:
        return Outcome(kind=Kind.FAILED, code="missing_pictures", pictures=pictures)
    return Outcome(kind=Kind.DONE, pictures=pictures, first_event_s=first_event_s)


@dataclass(slots=True)
class _Stream:
    """What has come of a stream of events."""

    began_s: float
    pictures: list[bytes] = field(default_factory=list)
    first_event_s: float | None = None
    error_code: str = ""

    def take(self, block: bytes) -> None:
        """Take note of one event. Raises ValueError or KeyError for one that is none."""
        data = [line[5:] for line in block.split(b"\n") if line.startswith(b"data:")]
        if not data:
            return  # a comment that keeps the connection alive
        event = json.loads(b"\n".join(data))
        if "error" in event:
            self.error_code = str(event["error"]["code"] or "error")
            return
        if self.first_event_s is None:
            self.first_event_s = asyncio.get_running_loop().time() - self.began_s
        if str(event["type"]).endswith(".completed"):
            self.pictures.append(_decoded(event))


async def _streamed(response: ClientResponse, request: ImageRequest, began_s: float) -> Outcome:
    stream = _Stream(began_s)
    waiting = b""
    try:
        async for chunk in _chunks(response, request.read_bytes_per_s):
            *blocks, waiting = (waiting + chunk).replace(b"\r\n", b"\n").split(b"\n\n")
            for block in blocks:
                stream.take(block)
    except (ValueError, TypeError, KeyError):
        return Outcome(kind=Kind.FAILED, code="bad_answer")
    if stream.error_code:  # what is refused has a status instead: this had begun
        return Outcome(kind=Kind.FAILED, code=stream.error_code)
    return _complete(tuple(stream.pictures), request, stream.first_event_s)
