"""LitServe with its own batching: requests that wait together become one list."""

# No postponed annotations: LitServe hands those of `decode_request` and `encode_response` to
# FastAPI from a module that does not know their names.

from typing import Any

import click
import litserve

from loadtests.peers.servers.wire import GENERATIONS, READY, ImagesRequest, images_answer

_BATCH_TIMEOUT_S = 0.05
_REQUEST_TIMEOUT_S = 300.0  # as Mintmark's; LitServe's own 30 s would refuse what waits longer


class ImagesApi(litserve.LitAPI):  # type: ignore[misc]
    """Draws whole batches. It is pickled into its worker, so the pipeline is loaded in `setup`."""

    def __init__(self, num_threads: int, max_batch_size: int) -> None:
        super().__init__(
            api_path=GENERATIONS, max_batch_size=max_batch_size, batch_timeout=_BATCH_TIMEOUT_S
        )
        self._num_threads = num_threads

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        """Load the pipeline in the worker's process; only there are torch and diffusers needed."""
        from loadtests.peers.servers.stock_pipeline import StockPipeline

        self._pipeline = StockPipeline(self._num_threads)

    def decode_request(self, request: ImagesRequest) -> ImagesRequest:
        """Return the body as it came."""
        return request

    def batch(self, inputs: list[ImagesRequest]) -> list[ImagesRequest]:
        """Return the list as it is: there is nothing to stack."""
        return inputs

    def predict(self, requests: list[ImagesRequest]) -> list[bytes]:
        """Return a picture for each request."""
        return self._pipeline.draw(requests)

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        """Return the pictures one by one."""
        return output

    def encode_response(self, output: bytes) -> dict[str, Any]:
        """Return the body of one answer."""
        return images_answer(output)


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--threads", "num_threads", type=int, required=True)
@click.option("--max-batch-size", type=int, required=True)
def main(port: int, num_threads: int, max_batch_size: int) -> None:
    """Serve on loopback until SIGTERM."""
    server = litserve.LitServer(
        ImagesApi(num_threads, max_batch_size),
        accelerator="cpu",
        devices=1,
        timeout=_REQUEST_TIMEOUT_S,
        healthcheck_path=READY,
    )
    server.run(host="127.0.0.1", port=port, generate_client_file=False, access_log=False)


if __name__ == "__main__":
    main()
