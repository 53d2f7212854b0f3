"""FastAPI, one pipeline and a lock: the server that people write first."""

from __future__ import annotations

import threading
from typing import Any

import click
import uvicorn
from fastapi import FastAPI

from loadtests.peers.servers.stock_pipeline import StockPipeline
from loadtests.peers.servers.wire import GENERATIONS, READY, ImagesRequest, images_answer


def build_app(num_threads: int) -> FastAPI:
    """Return the app with a loaded pipeline; its routes run in FastAPI's pool of threads."""
    pipeline = StockPipeline(num_threads)
    lock = threading.Lock()  # a pipeline's scheduler has state: two calls at once break both
    app = FastAPI()

    @app.post(GENERATIONS)
    def generate(request: ImagesRequest) -> dict[str, Any]:
        with lock:
            (png,) = pipeline.draw([request])
        return images_answer(png)

    @app.get(READY)
    def ready() -> None:
        return None

    return app


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--threads", "num_threads", type=int, required=True)
def main(port: int, num_threads: int) -> None:
    """Serve on loopback until SIGTERM."""
    uvicorn.run(build_app(num_threads), host="127.0.0.1", port=port, access_log=False)


if __name__ == "__main__":
    main()
