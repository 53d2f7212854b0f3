"""Public scheduler names, and which of them a model's noise schedule allows (stop 5)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from models.schedules import solvers
from models.schedules.config import NoiseScheduleConfig, UnsupportedScheduleOption

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from models.schedules.solvers import SolverTable


@dataclass(frozen=True, slots=True)
class _Entry:
    """`unsupported`: options that its diffusers class reads and the table cannot express."""

    compile: Callable[[NoiseScheduleConfig, int], SolverTable]
    unsupported: frozenset[str]
    is_flow_matching: bool = False


_DDIM: Final = frozenset({"clip_sample", "thresholding"})
_EULER: Final = frozenset(
    {
        "final_sigmas_type",
        "interpolation_type",
        "timestep_type",
        "use_beta_sigmas",
        "use_exponential_sigmas",
    }
)
_DPMPP: Final = frozenset(
    {
        "algorithm_type",
        "final_sigmas_type",
        "lambda_min_clipped",
        "solver_order",
        "solver_type",
        "thresholding",
        "use_beta_sigmas",
        "use_exponential_sigmas",
        "use_flow_sigmas",
        "use_lu_lambdas",
        "variance_type",
    }
)
_KARRAS: Final = frozenset({"sigma_max", "sigma_min"})
_FLOW: Final = frozenset(
    {
        "invert_sigmas",
        "shift_terminal",
        "stochastic_sampling",
        "use_beta_sigmas",
        "use_dynamic_shifting",
        "use_exponential_sigmas",
        "use_karras_sigmas",
    }
)
_CATALOG: Final[Mapping[str, _Entry]] = MappingProxyType(
    {
        "ddim": _Entry(solvers.ddim, _DDIM),
        "euler": _Entry(solvers.euler, _EULER),
        "euler_karras": _Entry(solvers.euler_karras, _EULER | _KARRAS),
        "euler_ancestral": _Entry(solvers.euler_ancestral, frozenset()),
        "dpmpp_2m": _Entry(solvers.dpmpp_2m, _DPMPP),
        "dpmpp_2m_karras": _Entry(solvers.dpmpp_2m_karras, _DPMPP | _KARRAS),
        "flow_match_euler": _Entry(solvers.flow_match_euler, _FLOW, is_flow_matching=True),
    }
)


def scheduler_names(config: NoiseScheduleConfig) -> tuple[str, ...]:
    """Return the names that `compile_solver` takes with this schedule, in catalog order."""
    return tuple(name for name, entry in _CATALOG.items() if _obstacle(name, entry, config) is None)


def compile_solver(name: str, num_inference_steps: int, config: NoiseScheduleConfig) -> SolverTable:
    """Return the solver table of a public scheduler name; equal calls return one shared table.

    num_inference_steps: 1 .. config.num_train_timesteps. The public name decides on Karras noise
    levels, whatever `use_karras_sigmas` says. Raises ValueError with a message fit for the caller:
    an unknown name, a step count out of range or impossible with this schedule, or
    UnsupportedScheduleOption.
    """
    entry = _CATALOG.get(name)
    if entry is None:
        known = ", ".join(scheduler_names(config))
        raise ValueError(f"unknown scheduler {name!r}; this model offers: {known}")
    obstacle = _obstacle(name, entry, config)
    if obstacle is not None:
        raise obstacle
    if not 1 <= num_inference_steps <= config.num_train_timesteps:
        raise ValueError(
            f"num_inference_steps must be 1 to {config.num_train_timesteps}, "
            f"not {num_inference_steps}"
        )
    return _compile(name, num_inference_steps, config)


@lru_cache(maxsize=256)
def _compile(name: str, num_inference_steps: int, config: NoiseScheduleConfig) -> SolverTable:
    return _CATALOG[name].compile(config, num_inference_steps)


def _obstacle(
    name: str, entry: _Entry, config: NoiseScheduleConfig
) -> UnsupportedScheduleOption | None:
    """Return why no step count works, or None."""
    if entry.is_flow_matching != config.is_flow_matching:
        kind = "a flow-matching" if config.is_flow_matching else "a diffusion"
        return UnsupportedScheduleOption(
            "_class_name", f"scheduler {name!r} does not fit {kind} model"
        )
    for option, value in config.departures:
        if option in entry.unsupported:
            return UnsupportedScheduleOption(
                option, f"scheduler {name!r} does not support {option} = {value!r}"
            )
    starts_at_the_end = config.timestep_spacing in ("linspace", "trailing")
    if (
        name == "ddim"
        and starts_at_the_end
        and config.rescale_betas_zero_snr
        and config.prediction_type == "epsilon"
    ):
        return UnsupportedScheduleOption(
            "rescale_betas_zero_snr",
            "scheduler 'ddim' cannot sample an epsilon prediction from zero terminal SNR "
            "(rescale_betas_zero_snr): the first step would divide by zero",
        )
    return None
