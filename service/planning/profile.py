"""What a model takes on a device, as measured: the planner's only knowledge of time."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

FORMAT: Final = "mintmark-profile/1"

Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Timing(_Strict):
    """One measured duration: the median of `samples` runs, and what it ranged between."""

    median_s: PositiveSeconds
    min_s: PositiveSeconds
    max_s: PositiveSeconds
    samples: int = Field(ge=1)

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if not self.min_s <= self.median_s <= self.max_s:
            raise ValueError("min_s <= median_s <= max_s does not hold")
        return self


class StepTiming(_Strict):
    """One denoising step, as the engine takes it, of a batch of `rows` rows."""

    rows: int = Field(ge=1, le=4096)
    step: Timing


class ShapeProfile(_Strict):
    """Everything that depends on the size of the picture.

    `latent_positions`: height x width of the latents. `steps`: ascending in rows. `mark`: one
    picture watermarked, encoded, signed, read back and recorded while the device is denoising.
    `mark_delay_s`: by how much that delays the denoising beside it; 0 where they share nothing.
    """

    width_px: int = Field(ge=1)
    height_px: int = Field(ge=1)
    latent_positions: int = Field(ge=1)
    steps: tuple[StepTiming, ...] = Field(min_length=1)
    decode: Timing
    mark: Timing
    mark_delay_s: Seconds

    @model_validator(mode="after")
    def _check_rows(self) -> Self:
        rows = [each.rows for each in self.steps]
        if any(a >= b for a, b in pairwise(rows)):
            raise ValueError("rows must ascend")
        return self

    @property
    def max_rows(self) -> int:
        """Return the largest batch that was measured."""
        return self.steps[-1].rows

    def step_s(self, rows: int) -> float:
        """Return the seconds of one step of `rows` rows, 1 .. `max_rows`.

        Between measured points on a straight line; below the first one its time, as a smaller batch
        is not slower. Raises ValueError above the last: nothing is known there.
        """
        if not 1 <= rows <= self.max_rows:
            raise ValueError(f"{rows} rows are not within the measured 1 .. {self.max_rows}")
        first = self.steps[0]
        if rows <= first.rows:
            return first.step.median_s
        for low, high in pairwise(self.steps):
            if rows <= high.rows:
                share = (rows - low.rows) / (high.rows - low.rows)
                return low.step.median_s + share * (high.step.median_s - low.step.median_s)
        raise AssertionError("the rows ascend to max_rows")


class DeviceFacts(_Strict):
    """What it was measured on. `load_average`: of the last minute, before the measurement began."""

    kind: Literal["cpu", "cuda"]
    name: str = Field(min_length=1)
    cpu_cores: int = Field(ge=1)
    load_average: float = Field(ge=0)


class ModelDescription(_Strict):
    """Which model, computed how. `revision`: hex digest over its weights."""

    model_id: str = Field(min_length=1)
    revision: str = Field(min_length=1)
    runner: Literal["onnx", "torch"]
    dtype: Literal["float32", "bfloat16", "float16"]
    num_threads: int | None = Field(ge=1)
    default_steps: int = Field(ge=1)
    default_is_guided: bool
    native_size_px: tuple[int, int]


class Profile(_Strict):
    """One measurement. `software`: versions by name. `load_s`: loading and warming the model up.

    `encode_prompt`: embeddings of one text that was not seen before.
    """

    format: Literal["mintmark-profile/1"] = FORMAT
    measured_at: AwareDatetime
    device: DeviceFacts
    model: ModelDescription
    software: dict[str, str]
    load_s: PositiveSeconds
    encode_prompt: Timing
    shapes: tuple[ShapeProfile, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_shapes(self) -> Self:
        sizes = [(shape.width_px, shape.height_px) for shape in self.shapes]
        if len(set(sizes)) < len(sizes):
            raise ValueError("a size is there twice")
        if self.model.native_size_px not in sizes:
            raise ValueError("the model's native size was not measured")
        return self

    @property
    def native_positions(self) -> int:
        """Return the latent positions of a picture at the model's native size."""
        return self.shape(*self.model.native_size_px).latent_positions

    def shape(self, width_px: int, height_px: int) -> ShapeProfile:
        """Return what was measured for one size. Raises ConfigurationError for any other."""
        for shape in self.shapes:
            if (shape.width_px, shape.height_px) == (width_px, height_px):
                return shape
        measured = ", ".join(f"{shape.width_px}x{shape.height_px}" for shape in self.shapes)
        raise ConfigurationError(
            f"The profile has no times for {width_px}x{height_px}, only for {measured}. Measure it "
            f"with `mintmark profile --size {width_px}x{height_px}`."
        )


def read_profile(path: Path) -> Profile:
    """Return the profile in a file. Raises ConfigurationError if it is none, saying where."""
    try:
        return Profile.model_validate_json(path.read_text(encoding="utf-8"), strict=True)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValidationError, UnicodeDecodeError) as error:
        where = ""
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            where = (
                f" at {'.'.join(str(part) for part in first['loc']) or 'its top'}: {first['msg']}"
            )
        raise ConfigurationError(f"{path} is no profile of `mintmark profile`{where}.") from error


def write_profile(profile: Profile, path: Path) -> None:
    """Write the profile as JSON that `read_profile` takes."""
    path.write_text(profile.model_dump_json(indent=2) + "\n", encoding="utf-8")
