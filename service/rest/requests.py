"""GET /v1/requests/{id} and its cancel: how far a generation has come, and stopping it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.domain.identity import RequestId
from service.errors import NotFound
from service.rest.json_answer import JsonAnswer

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from service.domain.progress import Progress
    from service.rest.dependencies import RestDependencies, RestEnvironment


class RequestsEndpoint:
    """Answers for requests that run or ran recently.

    Each caller knows of its own only (`service.access.generation`): another's is not found.
    """

    def __init__(self, environment: RestEnvironment) -> None:
        self._environment = environment

    async def retrieve(self, request: Request) -> Response:
        """Answer with phase, queue position and steps; raises NotFound for an unknown id."""
        dependencies = self._environment.require_loaded()
        request_id = RequestId(request.path_params["request_id"])
        progress = _find(dependencies, request_id)
        return JsonAnswer(
            {
                "id": request_id,
                "object": "request",
                "phase": progress.phase.value,
                "queue_position": progress.queue_position,
                "steps_done": progress.steps_done,
                "steps_total": progress.steps_total,
            }
        )

    async def cancel(self, request: Request) -> Response:
        """Stop the request within one step; `cancelled` is false if it had already ended."""
        dependencies = self._environment.require_loaded()
        request_id = RequestId(request.path_params["request_id"])
        _find(dependencies, request_id)
        is_cancelled = dependencies.generate.cancel(request_id)
        return JsonAnswer({"id": request_id, "object": "request", "cancelled": is_cancelled})


def _find(dependencies: RestDependencies, request_id: RequestId) -> Progress:
    progress = dependencies.generate.progress(request_id)
    if progress is None:
        raise NotFound("No such request runs or ran recently.")
    return progress
