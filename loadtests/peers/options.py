"""What is compared under which load, and in which order it is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from loadtests.harness.arrivals import Constant, Poisson
from loadtests.harness.mix import Profile, Workload, plan_requests
from loadtests.harness.open_loop import Planned
from loadtests.scenario import PROMPTS

if TYPE_CHECKING:
    from collections.abc import Iterator

SubjectName = Literal["mintmark", "mintmark-torch", "litserve", "plain", "bentoml"]
BASELINE: SubjectName = "mintmark"
DESCRIPTIONS: dict[SubjectName, str] = {
    "mintmark": "this service on ONNX Runtime; watermark, C2PA signature and ledger included",
    "mintmark-torch": "this service on torch; watermark, C2PA signature and ledger included",
    "litserve": "LitServe, its batching, stock diffusers; marks nothing",
    "plain": "FastAPI, one stock diffusers pipeline, a lock; marks nothing",
    "bentoml": "BentoML's adaptive batching, stock diffusers; marks nothing",
}
PEERS: tuple[SubjectName, ...] = (BASELINE, "litserve", "plain", "bentoml")


@dataclass(frozen=True, slots=True)
class Load:
    """A mix of requests. `profiles` differ in their steps only."""

    name: str
    profiles: tuple[Profile, ...]

    @property
    def workload(self) -> Workload:
        """Return what requests are drawn from."""
        return Workload(self.profiles, PROMPTS)


def steps_load(name: str, *steps: int) -> Load:
    """Return a load of equally frequent numbers of steps."""
    return Load(name, tuple(Profile(name=f"{n} steps", num_inference_steps=n) for n in steps))


# Batching by request needs requests that agree: in the second load all do, in the first a third.
LOADS = (steps_load("mixed", 4, 10, 20), steps_load("uniform", 20))


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One comparison.

    `fractions`: of the baseline's measured capacity, the rates that every subject is offered.
    `burst`: requests that come at once, to measure capacity. `duration_s`: how long each rate is
    offered; `drain_s`: how long answers are waited for then. `num_threads`: of every subject's
    network calls. `max_batch_size`: of the peers; the baseline's engine takes as many guided
    images. `objective_scale`: times the slowest subject's time for a request alone.
    """

    rounds: int = 3
    fractions: tuple[float, ...] = (0.3, 0.6, 0.9)
    subjects: tuple[SubjectName, ...] = PEERS
    loads: tuple[Load, ...] = LOADS
    burst: int = 32
    duration_s: float = 40.0
    drain_s: float = 240.0
    num_threads: int = 2
    max_batch_size: int = 8
    objective_scale: float = 3.0
    alone_repeats: int = 3
    warmup_requests: int = 14
    seed: int = 1

    def __post_init__(self) -> None:
        """Raise ValueError for a comparison with nothing to compare with."""
        if BASELINE not in self.subjects:
            raise ValueError(f"Ratios are to '{BASELINE}': it has to be among the subjects.")

    def profiles(self) -> tuple[Profile, ...]:
        """Return every kind of request once."""
        return tuple({each.name: each for load in self.loads for each in load.profiles}.values())


@dataclass(frozen=True, slots=True)
class Cell:
    """One measurement of every subject. `fraction`: None for the burst that measures capacity."""

    load: Load
    fraction: float | None


@dataclass(frozen=True, slots=True)
class Turn:
    """One subject's server from its start to its end: all cells of one round."""

    round_number: int
    subject: SubjectName


def turns_of(options: Options) -> Iterator[Turn]:
    """Yield the turns: A B C D, A B C D, ..., so that a slow minute does not hit one subject."""
    for round_number in range(options.rounds):
        for subject in options.subjects:
            yield Turn(round_number, subject)


def cells_of(options: Options) -> tuple[Cell, ...]:
    """Return what is measured in each turn, in order."""
    rates: tuple[float | None, ...] = (None, *options.fractions)
    return tuple(Cell(load, fraction) for load in options.loads for fraction in rates)


def plan_of(
    options: Options, cell: Cell, round_number: int, capacity_per_s: float
) -> list[Planned]:
    """Return the requests of a cell; every subject gets the same ones within a round."""
    seed = options.seed + 1_000 * round_number + cells_of(options).index(cell)
    workload = cell.load.workload
    if cell.fraction is None:
        spread = plan_requests(Constant(options.burst), workload, duration_s=1.0, seed=seed)
        return [Planned(0.0, each.request) for each in spread]
    arrivals = Poisson(cell.fraction * capacity_per_s)
    return plan_requests(arrivals, workload, duration_s=options.duration_s, seed=seed)
