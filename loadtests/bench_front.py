"""What the front doors cost: HTTP and gRPC beside the bare engine and beside plain echoes.

The engine draws the toy model's picture at once and a stub stands for the marking, so that neither
is in the figures. Every arm is a process of its own, alone while it is measured; the arms take
turns, and the median of the rounds is reported. Load goes to this machine's loopback only.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop
from google.protobuf import json_format

from loadtests import bench_front_cancel
from loadtests.bench_front_load import (
    BODY,
    RPC_METHOD,
    UNARY_ECHO_METHOD,
    HttpConnection,
    RpcConnection,
    Sample,
    drive,
    to_sample,
)
from loadtests.bench_front_process import (
    Cores,
    busy_share,
    measured_alone,
    running,
    running_shell,
)
from loadtests.bench_front_report import medians, overheads, print_cancels, print_table
from loadtests.bench_front_server import Order
from service.rpc.generated.mintmark.v1 import image_generation_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtests.bench_front_process import Running

# More than this, taken by others, and no figure of this run is worth repeating.
_MOST_BUSY_SHARE = 0.1
_SEED = 20261124


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    `paces`: requests per second over all connections; None asks again as soon as an answer is in.
    """

    rounds: int
    requests: int
    connections: int
    paces: tuple[float | None, ...]
    cancels: int
    has_shell: bool


class Bench:
    """Runs every arm `rounds` times and keeps the samples by arm and pace."""

    def __init__(self, plan: Plan, folder: Path, cores: Cores) -> None:
        self._plan = plan
        self._folder = folder
        self._cores = cores
        self._numbers = itertools.count()
        self.samples: dict[tuple[str, float | None], list[Sample]] = {}
        self.busy_share = 0.0
        self.answer_bytes = 0
        self.message_bytes: tuple[int, ...] = ()

    def run(self) -> None:
        """Measure everything; the front door goes first, because the echoes copy its sizes."""
        for _ in range(self._plan.rounds):
            self.busy_share = max(self.busy_share, busy_share())
            self._measure_front()
            self._measure_echo()
            self._measure_alone("engine")
            self._measure_alone("use-case")
            if self._plan.has_shell:
                with running_shell(self._new_folder(), self._cores) as arm:
                    self._measure_http("HTTP inside BentoML", arm)

    def cancel(self) -> dict[str, Any]:
        """Let clients leave."""
        order = Order("front", str(self._new_folder()), step_delay_s=bench_front_cancel.STEP_S)
        return bench_front_cancel.measure(order, self._cores, self._plan.cancels, _SEED)

    def _measure_front(self) -> None:
        with running(Order("front", str(self._new_folder())), self._cores) as arm:
            self.answer_bytes = self._measure_http("HTTP", arm)
            self.message_bytes = self._measure_rpc("gRPC", arm)

    def _measure_echo(self) -> None:
        order = Order(
            "echo",
            str(self._new_folder()),
            answer_bytes=self.answer_bytes,
            message_bytes=self.message_bytes,
        )
        with running(order, self._cores) as arm:
            self._measure_http("HTTP echo", arm)
            self._measure_rpc("gRPC echo", arm)
            self._measure_rpc("gRPC unary echo", arm, UNARY_ECHO_METHOD)

    def _measure_alone(self, kind: str) -> None:
        plan = self._plan
        for pace in plan.paces:
            order = Order(
                kind,
                str(self._new_folder()),
                requests=plan.requests,
                connections=plan.connections,
                rate_per_s=pace,
            )
            self._keep(kind, pace, Sample(**measured_alone(order, self._cores)))

    def _measure_http(self, name: str, arm: Running) -> int:
        async def open_one() -> HttpConnection:
            return await HttpConnection.open(arm.ports["http"])

        connection = self._measure(name, arm, open_one)
        return int(connection.answer_bytes)

    def _measure_rpc(self, name: str, arm: Running, method: str = RPC_METHOD) -> tuple[int, ...]:
        request = json_format.ParseDict(BODY, pb.GenerateRequest()).SerializeToString()

        async def open_one() -> RpcConnection:
            return RpcConnection(arm.ports["grpc"], request, method)

        connection = self._measure(name, arm, open_one)
        return tuple(connection.message_bytes)

    def _measure(self, name: str, arm: Running, open_one: Callable[[], Any]) -> Any:
        """Measure one arm at every pace; return one of its connections, which has seen answers."""
        plan = self._plan

        async def measure() -> Any:
            connections = [await open_one() for _ in range(plan.connections)]
            asks = [connection.ask for connection in connections]
            await drive(asks, plan.connections * 4, None)  # warm-up
            for pace in plan.paces:
                cpu_s = arm.cpu_s()
                taken, wall_s = await drive(asks, plan.requests, pace)
                self._keep(name, pace, to_sample(taken, wall_s, arm.cpu_s() - cpu_s))
            for connection in connections:
                await connection.close()
            return connections[0]

        return uvloop.run(measure())

    def _keep(self, name: str, pace: float | None, sample: Sample) -> None:
        self.samples.setdefault((name, pace), []).append(sample)

    def _new_folder(self) -> Path:
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        return folder


def summary(bench: Bench, plan: Plan) -> dict[str, Any]:
    """Return everything that was measured, JSON-ready."""
    paces: dict[str, Any] = {}
    for pace in plan.paces:
        found = {
            name: medians(samples) for (name, at), samples in bench.samples.items() if at == pace
        }
        paces["closed" if pace is None else f"{pace:g} per s"] = {
            "arms": {name: asdict(sample) for name, sample in found.items()},
            "overhead": overheads(found),
        }
    return {
        "plan": asdict(plan),
        "busy_share": bench.busy_share,
        "is_quiet": bench.busy_share <= _MOST_BUSY_SHARE,
        "answer_bytes": bench.answer_bytes,
        "message_bytes": bench.message_bytes,
        "paces": paces,
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=2000, help="per arm, round and pace")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rate", type=float, default=100.0, help="requests per second when paced")
    parser.add_argument("--cancels", type=int, default=1000)
    parser.add_argument("--no-shell", action="store_true", help="leave BentoML's shell out")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it runs")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    arguments = parser.parse_args()
    plan = Plan(
        rounds=arguments.rounds,
        requests=arguments.requests,
        connections=arguments.connections,
        paces=(None, arguments.rate),
        cancels=arguments.cancels,
        has_shell=not arguments.no_shell,
    )
    if arguments.quick:
        plan = replace(plan, rounds=1, requests=200, cancels=50)
    with tempfile.TemporaryDirectory(prefix="bench-front-") as folder:
        bench = Bench(plan, Path(folder), Cores.split())
        bench.run()
        result = summary(bench, plan)
        print_table(result)
        result["cancelling"] = bench.cancel()
        print_cancels(result["cancelling"])
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
