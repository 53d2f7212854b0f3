"""Every state of a worker is made to happen, and every door tells the same of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace

import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from models.families.toy import ToyModel
from service.bootstrap import Application
from service.database.watch import DatabaseWatch
from service.domain.identity import Deadline, RequestId
from service.engine.client import Ticket
from service.engine.options import EngineOptions
from service.errors import LedgerFailed
from service.health import QueueGate, SignerGate, WorkerHealth
from service.lifecycle import Lifecycle, State
from service.oip.generated import open_inference_grpc_pb2 as oip_pb
from service.oip.generated import open_inference_grpc_pb2_grpc as oip_grpc
from service.oip.servicer import open_inference_service
from service.rest.app import build_app
from service.rest.dependencies import RestDependencies
from service.rpc.dependencies import RpcEnvironment
from tests.factories import ThreadedEngine, make_request
from tests.fakes import FakeGeneration, FakeVerifier
from tests.rest_kit import RestBench
from tests.rpc_kit import RpcBench

OPTIONS = EngineOptions(max_batch_rows=2, max_queued_images=4, stuck_after_s=1.0)
YEAR_S = 365 * 86_400.0


class Worker:
    """A real engine, its health, a lifecycle over them and both front doors."""

    def __init__(self, model: ToyModel, startup_budget_s: float = 60.0) -> None:
        self.engine = ThreadedEngine(model, OPTIONS)
        self.signer_left_s = YEAR_S
        self.signer_wait_s = -YEAR_S
        self.database_is_there = True
        self.ledger = DatabaseWatch(self._check_database, interval_s=0.01)
        self.may_load = threading.Event()
        self.may_load.set()
        self.has_given_up = asyncio.Event()
        self._pool = ThreadPoolExecutor(1)
        self._requests = 0
        self._rest, self._rpc = RestBench(), RpcBench()
        self.lifecycle = Lifecycle(
            self._build,
            self.has_given_up.set,
            self._rest.metrics,
            startup_budget_s=startup_budget_s,
        )

    def _check_database(self) -> None:
        if not self.database_is_there:
            raise LedgerFailed("away")

    def _build(self) -> Application:
        assert self.may_load.wait(30)
        engine = self.engine
        gate = QueueGate(lambda: engine.queue.depth, OPTIONS.max_queued_images)
        signer = SignerGate(lambda: self.signer_left_s, lambda: self.signer_wait_s, 300.0)
        health = WorkerHealth(engine.loop, gate, [signer.refusal, self.ledger.refusal])
        dependencies = RestDependencies(
            generate=FakeGeneration(),
            models={"toy": engine.model.spec},
            default_model_id="toy",
            verifier=FakeVerifier(),
            verify_pool=self._pool,
            trust_anchors_pem=b"",
        )
        engine.loop.start()
        resources = ExitStack()
        self.ledger.start()
        resources.callback(self.ledger.stop)
        resources.callback(engine.loop.stop, 0.1)
        return Application(dependencies, health, engine.client, resources)

    @asynccontextmanager
    async def running(self, *, until: State = State.READY) -> AsyncIterator[None]:
        """Serve both doors, load, and leave in order."""
        environment = replace(self._rest.environment(), readiness=self.lifecycle)
        app = build_app(environment, self._rest.access)
        self._rpc.services = (open_inference_service(self._rpc_environment(), self.lifecycle),)
        server = await self._rpc.start()
        self.lifecycle.start()
        self.lifecycle.follow_readiness(server.set_serving)
        transport = httpx.ASGITransport(app)
        try:
            async with (
                httpx.AsyncClient(
                    transport=transport, base_url="http://mintmark.test"
                ) as self.http,
                self._rpc.channel() as self._channel,
                asyncio.timeout(60),
            ):
                while self.lifecycle.state is not until:
                    await asyncio.sleep(0.01)
                yield
        finally:
            self.may_load.set()
            await self.lifecycle.stop()
            await server.stop()
            for pool in (self._pool, self._rest.pool, self._rpc.pool):
                pool.shutdown()

    def submit(self, **wanted) -> Ticket:
        """Queue a request that nobody waits for."""
        self._requests += 1
        return self.engine.client.submit(
            make_request(**wanted),
            request_id=RequestId(f"request-{self._requests}"),
            deadline=Deadline(1e12),
        )

    async def told(self) -> dict[str, bool]:
        """Return what each door says right now."""
        health = health_pb2_grpc.HealthStub(self._channel)
        oip = oip_grpc.GRPCInferenceServiceStub(self._channel)
        checked = await health.Check(health_pb2.HealthCheckRequest())
        metrics = await self.http.get("/metrics")
        assert metrics.status_code == 200
        return {
            "/livez": (await self.http.get("/livez")).status_code == 200,
            "/v2/health/live": (await self.http.get("/v2/health/live")).status_code == 200,
            "ServerLive": (await oip.ServerLive(oip_pb.ServerLiveRequest())).live,
            "mintmark_alive": "\nmintmark_alive 1.0\n" in metrics.text,
            "/readyz": (await self.http.get("/readyz")).status_code == 200,
            "/v2/health/ready": (await self.http.get("/v2/health/ready")).status_code == 200,
            "ServerReady": (await oip.ServerReady(oip_pb.ServerReadyRequest())).ready,
            "mintmark_ready": "\nmintmark_ready 1.0\n" in metrics.text,
            "grpc.health": checked.status == health_pb2.HealthCheckResponse.SERVING,
        }

    async def all_tell(self, *, live: bool, ready: bool) -> None:
        """Wait until every door says so."""
        wanted = dict.fromkeys(LIVE, live) | dict.fromkeys(READY, ready)
        async with asyncio.timeout(20):
            while (told := await self.told()) != wanted:
                await asyncio.sleep(0.05)
        assert told == wanted

    async def reason(self, path: str) -> str:
        """Return what a probe that fails says."""
        answer = await self.http.get(path)
        assert answer.status_code == 503
        return str(answer.json()["error"]["message"])

    def _rpc_environment(self) -> RpcEnvironment:
        return RpcEnvironment(
            limits=self._rpc.limits,
            request_timeout_s=30.0,
            metrics=self._rest.metrics,
            loaded=self.lifecycle.loaded,
            refusal=self.lifecycle.refusal,
        )


LIVE = ("/livez", "/v2/health/live", "ServerLive", "mintmark_alive")
READY = ("/readyz", "/v2/health/ready", "ServerReady", "mintmark_ready", "grpc.health")


@pytest.fixture
def hang():
    """Let a denoiser hang while it is not set; set at the end, so that no thread is left."""
    event = threading.Event()
    yield event
    event.set()


async def test_a_denoiser_that_hangs_kills_the_worker_and_metrics_still_answer(hang):
    worker = Worker(ToyModel(on_denoise=lambda *_: hang.wait(60)))
    async with worker.running():
        await worker.all_tell(live=True, ready=True)
        worker.submit()
        await worker.all_tell(live=False, ready=False)
        for path in ("/livez", "/readyz"):
            assert "stuck: a step of 2 rows of toy/4x16x16 has taken" in await worker.reason(path)
        hang.set()  # a call that comes back after all
        await worker.all_tell(live=True, ready=True)


async def test_a_worker_with_an_engine_that_hangs_can_still_be_stopped(hang):
    worker = Worker(ToyModel(on_denoise=lambda *_: hang.wait(60)))
    async with worker.running():
        worker.submit()
        await worker.all_tell(live=False, ready=False)
        await asyncio.wait_for(worker.lifecycle.stop(), 10)


async def test_a_slow_denoiser_that_moves_is_alive():
    # Longer than one call may take, but no call takes that long.
    worker = Worker(ToyModel(step_delay_s=0.05))
    async with worker.running():
        worker.submit(steps=25)
        begun_s = asyncio.get_running_loop().time()
        while not worker.engine.loop.is_idle:
            assert all((await worker.told()).values())
        assert asyncio.get_running_loop().time() - begun_s > 1.0


async def test_a_certificate_that_has_ended_makes_the_worker_unready():
    worker = Worker(ToyModel())
    async with worker.running():
        await worker.all_tell(live=True, ready=True)
        worker.signer_left_s = 200.0
        await worker.all_tell(live=True, ready=False)
        assert "ends in 200 s" in await worker.reason("/readyz")
        worker.signer_left_s = -1.0
        assert await worker.reason("/readyz") == "The signing certificate has expired."
        worker.signer_left_s = YEAR_S
        await worker.all_tell(live=True, ready=True)


async def test_a_database_that_is_away_makes_the_worker_unready():
    worker = Worker(ToyModel())
    async with worker.running():
        await worker.all_tell(live=True, ready=True)
        worker.database_is_there = False
        await worker.all_tell(live=True, ready=False)
        assert await worker.reason("/readyz") == "The ledger's database does not answer."
        worker.database_is_there = True
        await worker.all_tell(live=True, ready=True)


async def test_a_full_queue_makes_the_worker_unready_until_there_is_room():
    slow = Worker(ToyModel(step_delay_s=0.02))
    async with slow.running():
        first = slow.submit(steps=900)
        while slow.engine.queue.depth:
            await asyncio.sleep(0)
        for _ in range(4):  # one runs at a time, so these wait
            slow.submit(steps=2)
        await slow.all_tell(live=True, ready=False)
        assert await slow.reason("/readyz") == "Too many images are waiting."
        first.cancel()
        await slow.all_tell(live=True, ready=True)  # by itself, as they are drawn


async def test_a_start_that_takes_too_long_is_given_up():
    worker = Worker(ToyModel(), startup_budget_s=0.3)
    worker.may_load.clear()
    async with worker.running(until=State.LOADING):
        await worker.all_tell(live=True, ready=False)
        await worker.has_given_up.wait()
        await worker.all_tell(live=False, ready=False)
        assert "could not start" in await worker.reason("/livez")


async def test_a_worker_that_drains_is_live_and_unready():
    worker = Worker(ToyModel())
    async with worker.running():
        await worker.all_tell(live=True, ready=True)
        worker.lifecycle.begin_drain()
        await worker.all_tell(live=True, ready=False)
