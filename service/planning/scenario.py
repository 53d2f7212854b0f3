"""Reads arrivals and mix from a load-test scenario, so that one file drives both."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import ConfigurationError
from service.planning.arrivals import Bursts, Gamma, Paced, Poisson, Ramp, read_trace
from service.planning.workload import RequestKind

if TYPE_CHECKING:
    from pathlib import Path

    from service.planning.arrivals import ArrivalProcess

_Rate = Annotated[float, Field(gt=0)]


class _Part(BaseModel):
    """What is read of a table; the rest is the load generator's."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Single(_Part):
    kind: Literal["constant", "poisson"]
    rate_per_s: _Rate


class _Gamma(_Part):
    kind: Literal["gamma"]
    rate_per_s: _Rate
    cv: float = Field(gt=0)


class _Bursts(_Part):
    kind: Literal["bursts"]
    calm_rate_per_s: float = Field(ge=0)
    burst_rate_per_s: _Rate
    mean_calm_s: _Rate
    mean_burst_s: _Rate


class _Ramp(_Part):
    kind: Literal["ramp"]
    from_rate_per_s: _Rate
    to_rate_per_s: _Rate


class _Replay(_Part):
    kind: Literal["replay"]
    path: str
    speed: _Rate = 1.0


class _MixEntry(_Part):
    weight: float = Field(default=1.0, gt=0)
    n: int = Field(default=1, ge=1, le=64)
    size_px: tuple[int, int] | None = None
    num_inference_steps: int | None = Field(default=None, ge=1)
    guidance_scale: float | None = None


class _Scenario(_Part):
    arrivals: Annotated[_Single | _Gamma | _Bursts | _Ramp | _Replay, Field(discriminator="kind")]
    mix: list[_MixEntry] = Field(min_length=1)


def read_scenario(
    path: Path, default: RequestKind
) -> tuple[ArrivalProcess, tuple[RequestKind, ...]]:
    """Return the arrivals and the mix of a scenario file.

    default: what a request gets that does not say. Raises ConfigurationError, naming the key.
    """
    try:
        scenario = _Scenario.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path} is no scenario: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{path}: {where}: {first['msg']}.") from error
    return _process(scenario.arrivals, path), tuple(_kind(each, default) for each in scenario.mix)


def _process(wanted: Any, path: Path) -> ArrivalProcess:
    match wanted:
        case _Single(kind="constant"):
            return Paced(wanted.rate_per_s)
        case _Gamma():
            return Gamma(wanted.rate_per_s, wanted.cv)
        case _Bursts():
            return Bursts(
                wanted.calm_rate_per_s,
                wanted.burst_rate_per_s,
                wanted.mean_calm_s,
                wanted.mean_burst_s,
            )
        case _Ramp():
            return Ramp(wanted.from_rate_per_s, wanted.to_rate_per_s)
        case _Replay():
            return read_trace(path.parent / wanted.path, wanted.speed)
    return Poisson(wanted.rate_per_s)


def _kind(entry: _MixEntry, default: RequestKind) -> RequestKind:
    width_px, height_px = entry.size_px or (default.width_px, default.height_px)
    is_guided = default.is_guided
    if entry.guidance_scale is not None:
        is_guided = entry.guidance_scale > 1
    return RequestKind(
        steps=entry.num_inference_steps or default.steps,
        width_px=width_px,
        height_px=height_px,
        is_guided=is_guided,
        num_images=entry.n,
        weight=entry.weight,
    )
