"""Reads a scenario file: strict TOML, so that a misspelt key is an error and not a default."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from loadtests.harness.arrivals import Arrivals, Replay
from loadtests.harness.mix import Clients, Profile, Workload
from loadtests.harness.objective import Scaled
from loadtests.harness.open_loop import LoadOptions
from loadtests.scenario_options import (
    AnyArrivals,
    Budgets,
    ClientOptions,
    MixEntry,
    ObjectiveOptions,
    OwnServerOptions,
    ReplayArrivals,
    Seconds,
    Share,
    Table,
    VerifyOptions,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PROMPTS = (
    "a red apple, flat style, on a white background",
    "a rocket, soft style, on a navy background",
    "a panda, 3d style, on a mint background",
    "a pumpkin, flat style, on a purple background",
)


class ScenarioError(Exception):
    """A scenario cannot be used; the message names the file and every key at fault."""


class Scenario(Table):
    """One run. Times in seconds; `warmup_s` is the part of `duration_s` that does not count.

    `max_lag_s`: if the generator's 99th percentile of lateness is above, the run says nothing.
    `max_others_share`: a missed budget says nothing if other processes took more of the machine.
    """

    name: str = Field(min_length=1)
    description: str = ""
    seed: int = Field(default=1, ge=0)
    duration_s: Seconds
    warmup_s: float = Field(default=0.0, ge=0)
    drain_s: Seconds = 60.0
    request_timeout_s: Seconds = 120.0
    max_in_flight: int = Field(default=512, ge=1, le=100_000)
    max_lag_s: Seconds = 0.05
    max_others_share: Share = 0.1
    transport: Literal["http", "grpc"] = "http"
    prompts: list[str] = Field(default_factory=lambda: list(PROMPTS), min_length=1)
    arrivals: AnyArrivals
    mix: list[MixEntry] = Field(min_length=1)
    clients: ClientOptions = ClientOptions()
    objective: ObjectiveOptions | None = None
    verify: VerifyOptions = VerifyOptions()
    server: OwnServerOptions = OwnServerOptions()
    budgets: Budgets = Budgets()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.warmup_s >= self.duration_s:
            raise ValueError("warmup_s must be below duration_s.")
        if len({entry.name for entry in self.mix}) < len(self.mix):
            raise ValueError("two entries of mix have the same name.")
        if self.clients.leave_share + self.clients.slow_share > 1:
            raise ValueError("clients.leave_share and slow_share must not exceed 1 together.")
        self._check_objective()
        return self

    def _check_objective(self) -> None:
        wanted = self.objective
        if wanted is None:
            if self.budgets.attainment is not None or self.budgets.goodput_per_s is not None:
                raise ValueError("budgets on attainment and goodput_per_s need an objective.")
            return
        if (wanted.latency_s is None) == (wanted.scale is None):
            raise ValueError("objective takes either latency_s or scale.")
        is_stated = all(entry.size_px and entry.num_inference_steps for entry in self.mix)
        if wanted.basis == "linear" and not is_stated:
            raise ValueError("basis 'linear' needs size_px and num_inference_steps in all of mix.")

    def profiles(self) -> tuple[Profile, ...]:
        """Return the mix."""
        return tuple(Profile(**entry.model_dump()) for entry in self.mix)

    def load_options(self) -> LoadOptions:
        """Return the bounds of the run."""
        return LoadOptions(
            duration_s=self.duration_s,
            max_in_flight=self.max_in_flight,
            request_timeout_s=self.request_timeout_s,
            drain_s=self.drain_s,
        )

    def scaled(self) -> Scaled | None:
        """Return how the objective follows from requests that are asked alone; None if not."""
        wanted = self.objective
        if wanted is None or wanted.scale is None:
            return None
        return Scaled(wanted.scale, wanted.basis, wanted.repeats)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A scenario with what its file refers to."""

    scenario: Scenario
    arrivals: Arrivals
    workload: Workload


def load_scenario(path: Path, changes: Mapping[str, object] = MappingProxyType({})) -> Loaded:
    """Read a scenario and its trace. `changes` replace top-level keys.

    Raises ScenarioError for a file that cannot be read, an unknown key or a value out of range.
    """
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        scenario = Scenario.model_validate(values | dict(changes))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ScenarioError(f"{path}: {error}") from None
    except ValidationError as error:
        lines = [f"{path}: {_sentence(each)}" for each in error.errors()]
        raise ScenarioError("\n".join(lines)) from None
    return _with_trace(scenario, path)


def _sentence(error: Any) -> str:
    """Return "key: what is wrong", without the names that pydantic gives to alternatives."""
    kinds = {"constant", "poisson", "gamma", "bursts", "ramp", "replay"}
    where = [str(part) for part in error["loc"] if part not in kinds]
    if error["type"] == "extra_forbidden":
        return f"{'.'.join(where)}: unknown key"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{'.'.join(where)}: {message}" if where else message


def _with_trace(scenario: Scenario, path: Path) -> Loaded:
    profiles = scenario.profiles()
    names: tuple[str, ...] = ()
    wanted = scenario.arrivals
    if isinstance(wanted, ReplayArrivals):
        times, names = _read_trace(path.parent / wanted.path, {each.name for each in profiles})
        process: Arrivals = Replay(times, wanted.speed)
    else:
        process = wanted.process()
    clients = Clients(**scenario.clients.model_dump())
    workload = Workload(profiles, tuple(scenario.prompts), clients, names)
    return Loaded(scenario, process, workload)


class _TraceLine(Table):
    at_s: float = Field(ge=0)
    profile: str = ""


def _read_trace(path: Path, known: set[str]) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Return the times of a trace in order, and the profile of each ("" if it does not say)."""
    lines = []
    try:
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            line = _TraceLine.model_validate(json.loads(text))
            if line.profile and line.profile not in known:
                raise ScenarioError(f"{path}:{number}: no profile '{line.profile}' in mix")
            lines.append(line)
    except (OSError, json.JSONDecodeError) as error:
        raise ScenarioError(f"{path}: {error}") from None
    except ValidationError as error:
        raise ScenarioError(f"{path}:{number}: {_sentence(error.errors()[0])}") from None
    lines.sort(key=lambda line: line.at_s)
    return tuple(line.at_s for line in lines), tuple(line.profile for line in lines)
