"""One arm of the front-door benchmark in a process of its own.

`python -m loadtests.bench_front_server '{"kind": …}'` writes `ready.json` into its folder when it
listens, serves until its standard input ends, and then writes `journal.json`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from loadtests.bench_front_load import RPC_METHOD, UNARY_ECHO_METHOD, measure_in_process
from loadtests.bench_front_parts import HOST, Parts
from service.telemetry.logging import configure_logging
from service.telemetry.options import TelemetryOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp

ECHO_PATH = "/v1/images/generations"
_BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class Order:
    """What a server process is to be.

    kind: front, echo, engine or use-case; the last two take no connections and measure themselves.
    answer_bytes: of an echo's HTTP answer; message_bytes: of the messages of its gRPC answer, which
    the unary echo sends as one.
    """

    kind: str
    folder: str
    step_delay_s: float = 0.0
    answer_bytes: int = 0
    message_bytes: tuple[int, ...] = ()
    requests: int = 0
    connections: int = 0
    rate_per_s: float | None = None

    def as_argument(self) -> str:
        """Return the command line's form."""
        return json.dumps(asdict(self))


def _uvicorn(app: ASGIApp) -> uvicorn.Server:
    """Return a server set up as the service's worker is: httptools, uvloop, no log of its own."""
    config = uvicorn.Config(
        app,
        backlog=_BACKLOG,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_keep_alive=5,
    )
    return uvicorn.Server(config)


def _echo_app(answer: bytes) -> ASGIApp:
    async def echo(request: Request) -> Response:
        await request.body()
        return Response(answer, media_type="application/json")

    return Starlette(routes=[Route(ECHO_PATH, echo, methods=["POST"])])


def _echo_rpc(messages: list[bytes]) -> grpc.aio.Server:
    async def echo(request: bytes, context: Any) -> AsyncIterator[bytes]:  # noqa: ARG001
        for message in messages:
            yield message

    whole = b"".join(messages)

    async def echo_once(request: bytes, context: Any) -> bytes:  # noqa: ARG001
        return whole

    service, _, method = RPC_METHOD[1:].partition("/")
    _, _, unary_method = UNARY_ECHO_METHOD[1:].partition("/")
    handlers = {
        method: grpc.unary_stream_rpc_method_handler(echo),
        unary_method: grpc.unary_unary_rpc_method_handler(echo_once),
    }
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    return server


async def _until_told_to_stop() -> None:
    await asyncio.to_thread(sys.stdin.read)


async def _serve(app: ASGIApp, rpc_port: int, folder: Path) -> None:
    """Answer HTTP until told to stop; say on which ports once there is somebody to answer."""
    server = _uvicorn(app)
    with socket.create_server((HOST, 0), backlog=_BACKLOG) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        # As the service does once it has loaded.
        gc.collect()
        gc.freeze()
        ports = {"http": listener.getsockname()[1], "grpc": rpc_port}
        _write(folder / "ready.json", ports)
        await _until_told_to_stop()
        server.should_exit = True
        await serving


async def _front(order: Order) -> None:
    parts = Parts(step_delay_s=order.step_delay_s, is_kept=order.step_delay_s > 0)
    rpc = parts.rpc_server()
    port = await rpc.start()
    await _serve(parts.http_app(), port, Path(order.folder))
    await rpc.stop()
    left = {"running_images": parts.engine.running_images, "events": parts.journal.events}
    await asyncio.to_thread(parts.close)
    _write(Path(order.folder) / "journal.json", left)


async def _echo(order: Order) -> None:
    rpc = _echo_rpc([bytes(size) for size in order.message_bytes])
    port = rpc.add_insecure_port(f"{HOST}:0")
    await rpc.start()
    await _serve(_echo_app(b" " * order.answer_bytes), port, Path(order.folder))
    await rpc.stop(0)


async def _in_process(order: Order) -> None:
    parts = Parts()
    gc.collect()
    gc.freeze()
    sample = await measure_in_process(
        parts, order.kind, order.requests, order.connections, order.rate_per_s
    )
    await asyncio.to_thread(parts.close)
    _write(Path(order.folder) / "journal.json", asdict(sample))


def _write(path: Path, value: Any) -> None:
    """Write all of it or nothing: somebody waits for the file to appear."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value), encoding="utf-8")
    partial.replace(path)


def main() -> None:
    """Be what the only argument says."""
    fields = json.loads(sys.argv[1])
    order = Order(**fields)
    configure_logging(TelemetryOptions())
    kinds: dict[str, Callable[[Order], Any]] = {
        "front": _front,
        "echo": _echo,
        "engine": _in_process,
        "use-case": _in_process,
    }
    uvloop.run(kinds[order.kind](order))


if __name__ == "__main__":
    main()
