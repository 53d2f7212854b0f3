"""`inference.GRPCInferenceService`: the Open Inference Protocol over gRPC (stops 1 and 10)."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, NoReturn, Protocol

from service.domain.identity import Deadline
from service.errors import MethodNotAllowed, ServiceError
from service.oip.generated import open_inference_grpc_pb2 as pb
from service.oip.generated import open_inference_grpc_pb2_grpc as pb_grpc
from service.oip.inference import draw, find_version, prepare
from service.oip.metadata import EXTENSIONS, SERVER_NAME, model_metadata
from service.oip.pictures import INIT_IMAGE, timeout_s
from service.oip.proto_message import read_infer, response_message
from service.oip.tensors import TensorLimits
from service.rpc.convert import refuse_unknown_fields
from service.rpc.request_identity import request_id_of_call
from service.rpc.server import FurtherService
from service.telemetry.metric_table import ADMISSION_REFUSALS
from service.version import installed_version

if TYPE_CHECKING:
    from service.rpc.dependencies import RpcDependencies, RpcEnvironment
    from service.rpc.interception import Context
    from service.rpc.server import ServiceRegistry

_DESCRIPTOR = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]


class Readiness(Protocol):
    """The worker's own view of itself."""

    def is_live(self) -> bool:
        """Tell whether the process can still serve, or could once it has loaded."""

    def is_ready(self) -> bool:
        """Tell whether new work is welcome."""


class OpenInferenceServicer(pb_grpc.GRPCInferenceServiceServicer):
    """Answers every method. Errors are raised, and shaped by what surrounds every call.

    A call that is cancelled, or whose deadline passes, stops its work: gRPC cancels the task that
    runs the method.
    """

    def __init__(self, environment: RpcEnvironment, readiness: Readiness) -> None:
        self._environment = environment
        self._readiness = readiness

    async def ServerLive(  # noqa: N802 - the method's name in the proto
        self,
        request: pb.ServerLiveRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> pb.ServerLiveResponse:
        """Return whether it works or still may; if not, only a restart can help."""
        return pb.ServerLiveResponse(live=self._readiness.is_live())

    async def ServerReady(  # noqa: N802
        self,
        request: pb.ServerReadyRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> pb.ServerReadyResponse:
        """Return whether new work is welcome: false while loading, failed or draining."""
        return pb.ServerReadyResponse(ready=self._readiness.is_ready())

    async def ModelReady(  # noqa: N802
        self,
        request: pb.ModelReadyRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.ModelReadyResponse:
        """Return whether new work is welcome; raises ModelNotFound once there are models."""
        dependencies = self._environment.loaded()
        if dependencies is None:
            return pb.ModelReadyResponse(ready=False)
        find_version(dependencies.models, request.name, request.version)
        return pb.ModelReadyResponse(ready=self._readiness.is_ready())

    async def ServerMetadata(  # noqa: N802
        self,
        request: pb.ServerMetadataRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> pb.ServerMetadataResponse:
        """Return what the server is."""
        return pb.ServerMetadataResponse(
            name=SERVER_NAME, version=installed_version(), extensions=EXTENSIONS
        )

    async def ModelMetadata(  # noqa: N802
        self,
        request: pb.ModelMetadataRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.ModelMetadataResponse:
        """Return what a model takes and gives; raises ModelNotFound."""
        dependencies = self._environment.require_loaded()
        facts = model_metadata(find_version(dependencies.models, request.name, request.version))
        tensor = pb.ModelMetadataResponse.TensorMetadata
        return pb.ModelMetadataResponse(
            name=facts.name,
            versions=facts.versions,
            platform=facts.platform,
            inputs=[tensor(**each) for each in facts.inputs],
            outputs=[tensor(**each) for each in facts.outputs],
        )

    async def ModelInfer(  # noqa: N802
        self, request: pb.ModelInferRequest, context: Context
    ) -> pb.ModelInferResponse:
        """Return every picture, or raise a ServiceError; never fewer or unsigned ones."""
        arrived_s = self._environment.clock()
        dependencies = self._admit()
        refuse_unknown_fields(request)
        limits = self._environment.limits
        infer, is_raw = read_infer(request, TensorLimits(limits.max_images_per_request))
        within_s = self._within_s(context, timeout_s(infer))
        uploads = self._environment.uploads
        with uploads.slot() if INIT_IMAGE in infer.inputs else nullcontext():
            inference = await prepare(infer, dependencies, limits)
        response = await draw(
            inference,
            dependencies.generate,
            request_id_of_call(),
            Deadline.after(within_s, arrived_s),
        )
        return response_message(response, is_raw=is_raw)

    async def RepositoryIndex(  # noqa: N802
        self,
        request: pb.RepositoryIndexRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> pb.RepositoryIndexResponse:
        """Refuse."""
        _refuse_repository()

    async def RepositoryModelLoad(  # noqa: N802
        self,
        request: pb.RepositoryModelLoadRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> pb.RepositoryModelLoadResponse:
        """Refuse."""
        _refuse_repository()

    async def RepositoryModelUnload(  # noqa: N802
        self,
        request: pb.RepositoryModelUnloadRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> pb.RepositoryModelUnloadResponse:
        """Refuse."""
        _refuse_repository()

    def _admit(self) -> RpcDependencies:
        try:
            return self._environment.require_loaded()
        except ServiceError as error:
            self._environment.metrics.count(ADMISSION_REFUSALS, error.code)
            raise

    def _within_s(self, context: Context, asked_s: float | None) -> float:
        """Return the shortest of the server's limit, the call's deadline and the parameter."""
        # The stubs do not say that it is None for a call without a deadline.
        remaining_s: float | None = context.time_remaining()
        given = (self._environment.request_timeout_s, remaining_s, asked_s)
        return min(each for each in given if each is not None)


def open_inference_service(environment: RpcEnvironment, readiness: Readiness) -> FurtherService:
    """Return the service for `RpcServer(services=…)`."""

    def add(registry: ServiceRegistry) -> None:
        pb_grpc.add_GRPCInferenceServiceServicer_to_server(  # type: ignore[no-untyped-call]
            OpenInferenceServicer(environment, readiness), registry
        )

    return FurtherService(_DESCRIPTOR, add)


def _refuse_repository() -> NoReturn:
    raise MethodNotAllowed(
        "This server has no model repository: its models are set when it is started."
    )
