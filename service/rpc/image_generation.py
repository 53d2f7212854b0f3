"""`mintmark.v1.ImageGeneration`: the service over gRPC (stops 1 and 10)."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from contextvars import copy_context
from typing import TYPE_CHECKING

from service.domain.identity import Deadline, RequestId
from service.edit_upload import decode_edit
from service.errors import InvalidRequest, NotFound, ServiceError
from service.intake import build_request
from service.rpc.convert import event_message, refuse_unknown_fields, to_draft
from service.rpc.convert_facts import model_message, report_message
from service.rpc.dependencies import find_model
from service.rpc.generated.mintmark.v1 import image_generation_pb2 as pb
from service.rpc.generated.mintmark.v1 import image_generation_pb2_grpc as pb_grpc
from service.rpc.request_identity import request_id_of_call
from service.telemetry.metric_table import ADMISSION_REFUSALS, VERIFICATIONS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from service.domain.stream import StreamEvent
    from service.edit_intake import EditDraft
    from service.intake import GenerationDraft
    from service.rpc.dependencies import RpcDependencies, RpcEnvironment
    from service.rpc.interception import Context


class ImageGenerationServicer(pb_grpc.ImageGenerationServicer):
    """Answers every method. Errors are raised, and shaped by what surrounds every call.

    A call that is cancelled, or whose deadline passes, stops its work: gRPC cancels the task that
    runs the method, and whoever closes the stream of a generation stops it.
    """

    def __init__(self, environment: RpcEnvironment) -> None:
        self._environment = environment

    async def Generate(  # noqa: N802 - the method's name in the proto
        self, request: pb.GenerateRequest, context: Context
    ) -> AsyncIterator[pb.GenerateResponse]:
        """Yield the events of a generation."""
        deadline = self._deadline(context)
        dependencies = self._admit()
        refuse_unknown_fields(request)
        events = self._draw(dependencies, to_draft(request), request.model, deadline)
        async with aclosing(events):
            async for event in events:
                yield event_message(event, pb.GenerateResponse)

    async def Edit(  # noqa: N802
        self, request: pb.EditRequest, context: Context
    ) -> AsyncIterator[pb.EditResponse]:
        """Yield the events of an edit."""
        deadline = self._deadline(context)
        dependencies = self._admit()
        refuse_unknown_fields(request)
        edit = await self._decode(request, dependencies)
        events = self._draw(dependencies, to_draft(request, edit), request.model, deadline)
        async with aclosing(events):
            async for event in events:
                yield event_message(event, pb.EditResponse)

    async def Verify(  # noqa: N802
        self,
        request: pb.VerifyRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.VerifyResponse:
        """Return the report on one picture."""
        dependencies = self._environment.require_loaded()
        refuse_unknown_fields(request)
        if not request.image:
            raise InvalidRequest("'image' is required.", param="image")
        with self._environment.uploads.slot():
            report = await asyncio.get_running_loop().run_in_executor(
                dependencies.verify_pool,
                copy_context().run,
                dependencies.verifier.verify,
                request.image,
            )
        self._environment.metrics.count(VERIFICATIONS, str(report.verdict))
        return report_message(report)

    async def ListModels(  # noqa: N802
        self,
        request: pb.ListModelsRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.ListModelsResponse:
        """Return every served model, the default one first."""
        dependencies = self._environment.require_loaded()
        refuse_unknown_fields(request)
        default_id = dependencies.default_model_id
        specs = sorted(
            dependencies.models.values(),
            key=lambda spec: (spec.model_id != default_id, spec.model_id),
        )
        limits = self._environment.limits
        return pb.ListModelsResponse(
            models=[
                model_message(spec, limits, is_default=spec.model_id == default_id)
                for spec in specs
            ]
        )

    async def Cancel(  # noqa: N802
        self,
        request: pb.CancelRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.CancelResponse:
        """Stop a request by its id."""
        dependencies = self._environment.require_loaded()
        refuse_unknown_fields(request)
        if not request.request_id:
            raise InvalidRequest("'request_id' is required.", param="request_id")
        request_id = RequestId(request.request_id)
        if dependencies.generate.progress(request_id) is None:
            raise NotFound("No such request runs or ran recently.", param="request_id")
        return pb.CancelResponse(cancelled=dependencies.generate.cancel(request_id))

    async def _decode(self, request: pb.EditRequest, dependencies: RpcDependencies) -> EditDraft:
        """Return the pictures of an edit, decoded in the pool."""
        if len(request.image) != 1:  # before any of them is decoded
            raise InvalidRequest("An edit takes exactly one image.", param="image")
        with self._environment.uploads.slot():
            return await asyncio.get_running_loop().run_in_executor(
                dependencies.verify_pool,
                decode_edit,
                request.image[0],
                request.mask if request.HasField("mask") else None,
                request.strength if request.HasField("strength") else None,
                self._environment.limits,
            )

    def _draw(
        self,
        dependencies: RpcDependencies,
        draft: GenerationDraft,
        model_id: str,
        deadline: Deadline,
    ) -> AsyncGenerator[StreamEvent, None]:
        """Return the events of a request that has been checked; closing them stops the work."""
        spec = find_model(dependencies, model_id)
        return dependencies.generate.stream(
            build_request(draft, spec, self._environment.limits),
            request_id=request_id_of_call(),
            deadline=deadline,
        )

    def _admit(self) -> RpcDependencies:
        """Return the dependencies; count it if a drawing is turned away before the model loads."""
        try:
            return self._environment.require_loaded()
        except ServiceError as error:
            self._environment.metrics.count(ADMISSION_REFUSALS, error.code)
            raise

    def _deadline(self, context: Context) -> Deadline:
        """Return the client's own deadline, or the server's where that is earlier."""
        timeout_s = self._environment.request_timeout_s
        # The stubs do not say that it is None for a call without a deadline.
        remaining_s: float | None = context.time_remaining()
        if remaining_s is not None:
            timeout_s = min(timeout_s, remaining_s)
        return Deadline.after(timeout_s, self._environment.clock())
