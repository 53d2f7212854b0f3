"""The noise schedule of a model, read from diffusers' `scheduler_config.json`."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_args

from models.spec import PredictionType

if TYPE_CHECKING:
    from collections.abc import Mapping

BetaSchedule = Literal["linear", "scaled_linear", "squaredcos_cap_v2"]
TimestepSpacing = Literal["leading", "trailing", "linspace"]

# Options that some diffusers scheduler reads and no table implements, with the values that leave
# the update as we compile it. Which solver minds which option is in `catalog`.
_HARMLESS_VALUES: Final[Mapping[str, tuple[object, ...]]] = MappingProxyType(
    {
        "algorithm_type": ("dpmsolver++", "deis"),
        "clip_sample": (False,),
        "final_sigmas_type": ("zero",),
        "interpolation_type": ("linear",),
        "invert_sigmas": (False,),
        "lambda_min_clipped": (float("-inf"),),
        "shift_terminal": (0, False),
        "sigma_max": (),
        "sigma_min": (),
        "solver_order": (2,),
        "solver_type": ("midpoint", "logrho", "bh1", "bh2"),
        "stochastic_sampling": (False,),
        "thresholding": (False,),
        "timestep_type": ("discrete",),
        "use_beta_sigmas": (False,),
        "use_dynamic_shifting": (False,),
        "use_exponential_sigmas": (False,),
        "use_flow_sigmas": (False,),
        "use_karras_sigmas": (False,),
        "use_lu_lambdas": (False,),
        "variance_type": ("fixed_small", "fixed_large"),
    }
)


class UnsupportedScheduleOption(ValueError):
    """A scheduler option asks for an update that is not linear, or that is not implemented.

    `option` is its name in `scheduler_config.json`.
    """

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message)
        self.option = option


@dataclass(frozen=True, slots=True)
class NoiseScheduleConfig:
    """The part of a diffusers scheduler configuration that decides the numbers; hashable.

    Field names and defaults are diffusers'. `timestep_spacing` None leaves each solver the default
    of its own diffusers class. `is_flow_matching` tells a rectified-flow model, for which only
    `num_train_timesteps` and `shift` count. `departures` holds (option, repr of its value)
    of every setting that some solver cannot honour.
    """

    num_train_timesteps: int = 1000
    beta_start: float = 0.0001
    beta_end: float = 0.02
    beta_schedule: BetaSchedule = "linear"
    trained_betas: tuple[float, ...] | None = None
    prediction_type: PredictionType = "epsilon"
    rescale_betas_zero_snr: bool = False
    timestep_spacing: TimestepSpacing | None = None
    steps_offset: int = 0
    set_alpha_to_one: bool = True
    is_flow_matching: bool = False
    shift: float = 1.0
    departures: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Reject values outside the ranges that the formulas are defined on."""
        if self.num_train_timesteps <= 1:
            raise ValueError(f"num_train_timesteps must exceed 1, not {self.num_train_timesteps}")
        if not 0 < self.beta_start <= self.beta_end < 1:
            raise ValueError(
                f"betas must satisfy 0 < beta_start <= beta_end < 1, "
                f"not {self.beta_start} and {self.beta_end}"
            )
        if self.steps_offset < 0:
            raise ValueError(f"steps_offset must not be negative, but is {self.steps_offset}")
        if not self.shift > 0:
            raise ValueError(f"shift must be positive, not {self.shift}")
        if self.trained_betas is not None:
            _check_betas(self.trained_betas, self.num_train_timesteps)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> NoiseScheduleConfig:
        """Read the parsed `scheduler_config.json` of any diffusers scheduler class.

        Keys that no solver here reads are ignored, as in diffusers. A missing or null key takes
        diffusers' default, with one exception: a missing `clip_sample` means no clipping, because
        only DDIM would clip then, and latents are not bounded by 1. Raises
        UnsupportedScheduleOption for a beta schedule, prediction type or timestep spacing that is
        not implemented, ValueError for a wrong type or range.
        """
        return cls(
            num_train_timesteps=_integer(raw, "num_train_timesteps", 1000),
            beta_start=_number(raw, "beta_start", 0.0001),
            beta_end=_number(raw, "beta_end", 0.02),
            beta_schedule=cast("BetaSchedule", _choice(raw, "beta_schedule", "linear")),
            trained_betas=_numbers(raw, "trained_betas"),
            prediction_type=cast("PredictionType", _choice(raw, "prediction_type", "epsilon")),
            rescale_betas_zero_snr=_flag(raw, "rescale_betas_zero_snr", default=False),
            timestep_spacing=cast(
                "TimestepSpacing | None", _choice(raw, "timestep_spacing", default=None)
            ),
            steps_offset=_integer(raw, "steps_offset", 0),
            set_alpha_to_one=_flag(raw, "set_alpha_to_one", default=True),
            is_flow_matching=str(raw.get("_class_name", "")).startswith("FlowMatch"),
            shift=_number(raw, "shift", 1.0),
            departures=tuple(
                (name, repr(raw[name]))
                for name, harmless in _HARMLESS_VALUES.items()
                if raw.get(name) is not None and raw[name] not in harmless
            ),
        )


_CHOICES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "beta_schedule": get_args(BetaSchedule),
        "prediction_type": get_args(PredictionType),
        "timestep_spacing": get_args(TimestepSpacing),
    }
)


def _choice(raw: Mapping[str, Any], name: str, default: str | None) -> str | None:
    value = raw.get(name)
    if value is None:
        return default
    if value not in _CHOICES[name]:
        raise UnsupportedScheduleOption(
            name, f"{name} {value!r} is not supported; supported: {', '.join(_CHOICES[name])}"
        )
    return cast("str", value)


def _integer(raw: Mapping[str, Any], name: str, default: int) -> int:
    value = raw.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} must be an integer, not {value!r}")  # noqa: TRY004
    return value


def _number(raw: Mapping[str, Any], name: str, default: float) -> float:
    value = raw.get(name)
    if value is None:
        return default
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{name} must be a number, not {value!r}")  # noqa: TRY004
    return float(value)


def _numbers(raw: Mapping[str, Any], name: str) -> tuple[float, ...] | None:
    values = raw.get(name)
    if values is None:
        return None
    if not isinstance(values, list | tuple):
        raise ValueError(f"{name} must be a list of numbers, not {values!r}")  # noqa: TRY004
    return tuple(_number({name: value}, name, 0.0) for value in values)


def _flag(raw: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = raw.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, not {value!r}")  # noqa: TRY004
    return value


def _check_betas(betas: tuple[float, ...], num_train_timesteps: int) -> None:
    if len(betas) != num_train_timesteps:
        raise ValueError(
            f"trained_betas has {len(betas)} values for {num_train_timesteps} training timesteps"
        )
    if not all(0 < beta < 1 for beta in betas):
        raise ValueError("trained_betas must lie strictly between 0 and 1")
