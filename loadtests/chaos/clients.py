"""Clients of every kind, and what each of them asks for."""

from __future__ import annotations

import base64
import json
from abc import ABC, abstractmethod
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

import aiohttp

from loadtests.harness.request import ImageRequest, Kind, Outcome, kind_of_status
from loadtests.targets.grpc import GrpcTarget
from loadtests.targets.http import GENERATIONS, HttpTarget

if TYPE_CHECKING:
    from types import TracebackType

    from loadtests.harness.request import Target
    from loadtests.own_server import Endpoints

# What each kind of client asks for. Guidance 1 halves the work, which is not what is tested.
ANSWER = ImageRequest(profile="answer", prompt="", seed=0, num_inference_steps=2, guidance_scale=1)
STREAM = ImageRequest(
    profile="stream",
    prompt="",
    seed=0,
    num_inference_steps=6,
    guidance_scale=1,
    is_streamed=True,
    partial_images=1,
)
RPC = ImageRequest(profile="rpc", prompt="", seed=0, num_inference_steps=3, guidance_scale=1)
LINK = ImageRequest(profile="link", prompt="", seed=0, num_inference_steps=2, guidance_scale=1)
MIXED = (ANSWER, STREAM, RPC)
_PROBE = {"prompt": "a red apple", "seed": 7, "num_inference_steps": 3}


class Clients:
    """One target for all kinds of request, by their profile; an async context manager."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open every connection pool."""
        enter = self._stack.enter_async_context
        http = await enter(HttpTarget(self._endpoints.http_url))
        # Connections of their own: a kept one may lead to a server that has died.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        timeout = aiohttp.ClientTimeout(total=None)
        self._session = await enter(aiohttp.ClientSession(connector=connector, timeout=timeout))
        self._targets: dict[str, Target] = {
            ANSWER.profile: http,
            STREAM.profile: StreamTarget(self._session, self._endpoints.http_url),
            RPC.profile: await enter(GrpcTarget(self._endpoints.grpc_address)),
            LINK.profile: LinkTarget(self._session, self._endpoints.http_url),
        }
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close them."""
        await self._stack.aclose()

    async def send(self, request: ImageRequest) -> Outcome:
        """Ask once, the way the request's profile says."""
        return await self._targets[request.profile].send(request)

    async def pixels(self) -> str:
        """Return the digest of one picture's pixels, always the same picture."""
        url = f"{self._endpoints.http_url}{GENERATIONS}"
        async with self._session.post(url, json=_PROBE) as response:
            response.raise_for_status()
            (item,) = (await response.json())["data"]
            return str(item["pixels_sha256"])

    async def readiness(self) -> str:
        """Return "" for a server that is ready, else the code that says why it is not."""
        async with self._session.get(f"{self._endpoints.http_url}/readyz") as response:
            return "" if response.status == 200 else _code(await response.read())


class _SessionTarget(ABC):
    """What both of the following share: how a broken connection and a refusal are told."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def send(self, request: ImageRequest) -> Outcome:
        """Ask once, without retries, and return what became of it."""
        body = _body(request) | self._more(request)
        try:
            async with self._session.post(f"{self._url}{GENERATIONS}", json=body) as response:
                if response.status != 200:
                    return await _refused(response)
                return await self._read(response)
        except aiohttp.ClientConnectorError:
            return Outcome(kind=Kind.FAILED, code="connection_failed")
        except (aiohttp.ClientError, ConnectionError):
            return Outcome(kind=Kind.FAILED, code="connection_lost")
        except (ValueError, TypeError, KeyError):
            return Outcome(kind=Kind.FAILED, code="bad_answer")

    @abstractmethod
    def _more(self, request: ImageRequest) -> dict[str, Any]:
        """Return what the body says beside what is drawn."""

    @abstractmethod
    async def _read(self, response: aiohttp.ClientResponse) -> Outcome:
        """Return what a 200 comes to; ValueError, TypeError or KeyError for a malformed one."""


class StreamTarget(_SessionTarget):
    """Reads server-sent events and keeps every picture in them: previews leave the server too."""

    def _more(self, request: ImageRequest) -> dict[str, Any]:
        return {"stream": True, "partial_images": request.partial_images}

    async def _read(self, response: aiohttp.ClientResponse) -> Outcome:
        pictures: list[bytes] = []
        kinds: list[str] = []
        text = (await response.content.read()).decode()
        for line in text.splitlines():
            if not line.startswith("data:"):
                continue
            event = json.loads(line[5:])
            if "error" in event:
                code = str(event["error"]["code"])
                return Outcome(kind=Kind.FAILED, code=code, pictures=tuple(pictures))
            kinds.append(str(event["type"]))
            pictures.append(base64.b64decode(event["b64_json"], validate=True))
        is_whole = bool(kinds) and kinds[-1].endswith(".completed")
        kind, code = (Kind.DONE, "") if is_whole else (Kind.FAILED, "missing_pictures")
        return Outcome(kind=kind, code=code, pictures=tuple(pictures))


class LinkTarget(_SessionTarget):
    """Asks for links, and fetches what they lead to."""

    def _more(self, request: ImageRequest) -> dict[str, Any]:  # noqa: ARG002 - like the other's
        return {"response_format": "url"}

    async def _read(self, response: aiohttp.ClientResponse) -> Outcome:
        pictures = []
        for item in json.loads(await response.read())["data"]:
            async with self._session.get(item["url"]) as fetched:
                if fetched.status != 200:
                    return await _refused(fetched)
                pictures.append(await fetched.read())
        return Outcome(kind=Kind.DONE, pictures=tuple(pictures))


def _body(request: ImageRequest) -> dict[str, Any]:
    return {
        "prompt": request.prompt,
        "seed": request.seed,
        "num_inference_steps": request.num_inference_steps,
        "guidance_scale": request.guidance_scale,
    }


async def _refused(response: aiohttp.ClientResponse) -> Outcome:
    code = _code(await response.read()) or f"http_{response.status}"
    return Outcome(kind=kind_of_status(response.status, code), code=code)


def _code(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["code"] or "")
    except (ValueError, TypeError, KeyError):
        return ""
