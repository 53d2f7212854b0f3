"""A worker loads in the background, answers probes truly, and leaves in order."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from models.families.toy import toy_spec
from service.errors import (
    ConfigurationError,
    Draining,
    ModelNotReady,
    ServiceError,
    SignerNotReady,
)
from service.lifecycle import Lifecycle, State
from service.rest.dependencies import RestDependencies
from service.telemetry.metrics import Metrics
from tests.fakes import FakeGeneration, FakeVerifier


class FakeApplication:
    """Records in which order it is let go."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.not_live: ServiceError | None = None
        self.not_ready: ServiceError | None = None
        self.calls: list[str] = []
        self.may_drain = asyncio.Event()
        self.may_drain.set()
        self.rest = RestDependencies(
            generate=FakeGeneration(),
            models={"toy": toy_spec()},
            default_model_id="toy",
            verifier=FakeVerifier(),
            verify_pool=pool,
            trust_anchors_pem=b"",
        )

    def why_not_live(self) -> ServiceError | None:
        return self.not_live

    def why_not_ready(self) -> ServiceError | None:
        return self.not_ready

    async def drain(self) -> None:
        self.calls.append("drain")
        await self.may_drain.wait()
        self.calls.append("drained")

    def end_requests(self) -> None:
        self.calls.append("end requests")

    def close(self) -> None:
        self.calls.append("close")


class Bench:
    def __init__(self, application: FakeApplication) -> None:
        self.application = application
        self.metrics = Metrics("test")
        self.may_load = threading.Event()
        self.may_load.set()
        self.error: BaseException | None = None
        self.load_threads: list[str] = []
        self.has_given_up = asyncio.Event()
        self.told: list[bool] = []
        self.lifecycle = self.lifecycle_within(60.0)

    def lifecycle_within(self, startup_budget_s: float) -> Lifecycle:
        self.lifecycle = Lifecycle(
            self._build,
            self.has_given_up.set,
            self.metrics,
            startup_budget_s=startup_budget_s,
        )
        return self.lifecycle

    def _build(self) -> FakeApplication:
        self.load_threads.append(threading.current_thread().name)
        assert self.may_load.wait(10)
        if self.error is not None:
            raise self.error
        return self.application

    async def reach(self, state: State) -> None:
        async with asyncio.timeout(5):
            while self.lifecycle.state is not state:
                await asyncio.sleep(0.001)

    def ready_metric(self) -> str:
        return self.metric("ready")

    def metric(self, name: str) -> str:
        lines = self.metrics.exposition().decode().splitlines()
        return next(line for line in lines if line.startswith(f"mintmark_{name} "))

    async def reported(self, is_ready: bool) -> None:
        """Wait until whoever follows the readiness has been told so."""
        async with asyncio.timeout(5):
            while not self.told or self.told[-1] is not is_ready:
                await asyncio.sleep(0.01)


@pytest.fixture
async def bench():
    with ThreadPoolExecutor(1) as pool:
        made = Bench(FakeApplication(pool))
        yield made
        made.may_load.set()
        made.application.may_drain.set()
        await made.lifecycle.stop()
    gc.unfreeze()  # what the load thread froze belongs to this test run


async def test_it_loads_in_a_thread_and_is_live_meanwhile(bench):
    bench.may_load.clear()
    bench.lifecycle.start()
    assert bench.lifecycle.is_live()
    assert not bench.lifecycle.is_ready()
    assert bench.lifecycle.loaded() is None
    refusal = bench.lifecycle.refusal()
    assert isinstance(refusal, ModelNotReady)
    assert refusal.retry_after_s
    assert bench.ready_metric() == "mintmark_ready 0.0"
    bench.may_load.set()
    await bench.reach(State.READY)
    assert bench.load_threads == ["load"]
    assert bench.lifecycle.is_ready()
    assert bench.lifecycle.loaded() is bench.application.rest
    assert bench.ready_metric() == "mintmark_ready 1.0"
    assert f'revision="{toy_spec().revision}"' in bench.metrics.exposition().decode()


async def test_what_was_loaded_is_out_of_the_collectors_sight(bench):
    gc.unfreeze()
    bench.lifecycle.start()
    await bench.reach(State.READY)
    assert gc.get_freeze_count() > 0


async def test_a_wrong_setting_ends_the_worker_with_one_line(bench, caplog):
    bench.error = ConfigurationError("The model cannot be loaded: no such folder.")
    bench.lifecycle.start()
    await asyncio.wait_for(bench.has_given_up.wait(), 5)
    assert not bench.lifecycle.is_live()
    assert not bench.lifecycle.is_ready()
    (record,) = (r for r in caplog.records if r.levelname == "CRITICAL")
    assert record.getMessage().endswith("no such folder.")
    assert record.exc_info is None


@pytest.mark.parametrize("error", [RuntimeError("defect"), MemoryError(), SystemExit(3)])
async def test_a_defect_while_loading_ends_the_worker_with_a_traceback(bench, caplog, error):
    bench.error = error
    bench.lifecycle.start()
    await asyncio.wait_for(bench.has_given_up.wait(), 5)
    (record,) = (r for r in caplog.records if r.levelname == "CRITICAL")
    assert record.exc_info is not None
    assert "defect" not in bench.lifecycle.refusal().message


async def test_a_dead_engine_is_neither_live_nor_ready(bench):
    bench.lifecycle.start()
    await bench.reach(State.READY)
    bench.application.not_live = ModelNotReady("The engine has stopped.")
    assert not bench.lifecycle.is_live()
    assert not bench.lifecycle.is_ready()
    assert bench.lifecycle.refusal().message == "The engine has stopped."
    assert bench.metric("alive") == "mintmark_alive 0.0"


async def test_draining_refuses_by_probe_but_still_serves(bench):
    bench.lifecycle.start()
    await bench.reach(State.READY)
    bench.lifecycle.begin_drain()
    assert not bench.lifecycle.is_ready()
    assert bench.lifecycle.is_live()
    assert bench.lifecycle.loaded() is not None
    assert isinstance(bench.lifecycle.refusal(), Draining)


async def test_ending_every_request_is_a_drain_that_does_not_wait(bench, caplog):
    bench.lifecycle.start()
    await bench.reach(State.READY)
    bench.lifecycle.end_requests()
    assert bench.lifecycle.state is State.DRAINING
    assert bench.application.calls == ["end requests"]
    assert "told twice to stop" in caplog.text


async def test_there_may_be_no_request_to_end_yet(bench):
    bench.may_load.clear()
    bench.lifecycle.start()
    bench.lifecycle.end_requests()
    assert bench.lifecycle.state is State.DRAINING


async def test_stopping_drains_before_it_closes_and_does_so_once(bench):
    bench.lifecycle.start()
    await bench.reach(State.READY)
    bench.application.may_drain.clear()
    stopping = asyncio.create_task(bench.lifecycle.stop())
    while not bench.application.calls:
        await asyncio.sleep(0)
    assert bench.application.calls == ["drain"]
    bench.application.may_drain.set()
    await stopping
    await bench.lifecycle.stop()
    assert bench.application.calls == ["drain", "drained", "close"]
    assert bench.lifecycle.loaded() is None


async def test_a_dead_engine_is_not_waited_for(bench):
    bench.lifecycle.start()
    await bench.reach(State.READY)
    bench.application.not_live = ModelNotReady("The engine has stopped.")
    bench.application.may_drain.clear()
    await asyncio.wait_for(bench.lifecycle.stop(), 5)
    assert bench.application.calls == ["close"]


async def test_an_engine_that_dies_while_it_drains_is_waited_for_no_longer(bench, caplog):
    bench.lifecycle.start()
    await bench.reach(State.READY)
    bench.application.may_drain.clear()
    stopping = asyncio.create_task(bench.lifecycle.stop())
    while bench.application.calls != ["drain"]:
        await asyncio.sleep(0)
    bench.application.not_live = ModelNotReady("The engine is stuck.")
    await asyncio.wait_for(stopping, 5)
    assert bench.application.calls == ["drain", "close"]
    assert "will never end" in caplog.text


async def test_a_start_that_takes_too_long_ends_the_worker_with_one_line(bench, caplog):
    lifecycle = bench.lifecycle_within(0.05)
    bench.may_load.clear()
    lifecycle.start()
    assert lifecycle.is_live()
    await asyncio.wait_for(bench.has_given_up.wait(), 5)
    assert not lifecycle.is_live()
    assert bench.metric("alive") == "mintmark_alive 0.0"
    (record,) = (r for r in caplog.records if r.levelname == "CRITICAL")
    assert record.getMessage() == (
        "cannot start: loading has taken longer than MINTMARK_SERVER__STARTUP_BUDGET_S, 0.05 s"
    )
    bench.may_load.set()
    async with asyncio.timeout(5):
        while bench.application.calls != ["close"]:  # what arrives too late is freed
            await asyncio.sleep(0.001)
    assert lifecycle.state is State.FAILED


async def test_a_start_within_its_budget_is_left_alone_afterwards(bench):
    lifecycle = bench.lifecycle_within(2.0)
    lifecycle.start()
    await bench.reach(State.READY)
    await asyncio.sleep(2.1)
    assert lifecycle.is_ready()
    assert not bench.has_given_up.is_set()


async def test_whoever_follows_the_readiness_is_told_of_every_change(bench, caplog):
    caplog.set_level("INFO")
    bench.lifecycle.start()
    bench.lifecycle.follow_readiness(bench.told.append)
    await bench.reach(State.READY)
    bench.application.not_ready = SignerNotReady("The signing certificate has expired.")
    await bench.reported(False)
    assert bench.ready_metric() == "mintmark_ready 0.0"
    assert bench.metric("alive") == "mintmark_alive 1.0"
    assert "not ready: The signing certificate has expired." in caplog.messages
    bench.application.not_ready = None
    await bench.reported(True)
    assert "ready again" in caplog.messages
    bench.lifecycle.begin_drain()
    assert bench.told == [False, True, False, True, False]


async def test_a_death_is_logged_once_with_what_every_thread_was_doing(bench, caplog):
    bench.lifecycle.start()
    bench.lifecycle.follow_readiness(bench.told.append)
    await bench.reach(State.READY)
    bench.application.not_live = ModelNotReady("The engine is stuck.")
    await bench.reported(False)
    (record,) = (r for r in caplog.records if r.levelname == "CRITICAL")
    assert record.getMessage() == "not live: The engine is stuck."
    assert "MainThread:\n" in record.stacks
    bench.application.not_live = None
    await bench.reported(True)
    assert "live again" in caplog.messages


async def test_an_engine_that_dies_while_draining_is_the_reason_given(bench):
    bench.lifecycle.start()
    await bench.reach(State.READY)
    bench.lifecycle.begin_drain()
    bench.application.not_live = ModelNotReady("The engine is stuck.")
    assert bench.lifecycle.refusal().message == "The engine is stuck."


async def test_stopping_while_loading_closes_what_still_arrives(bench):
    bench.may_load.clear()
    bench.lifecycle.start()
    await bench.lifecycle.stop()
    bench.may_load.set()
    async with asyncio.timeout(5):
        while not bench.application.calls:
            await asyncio.sleep(0.001)
    assert bench.application.calls == ["close"]
    assert bench.lifecycle.loaded() is None
    assert not bench.lifecycle.is_ready()
