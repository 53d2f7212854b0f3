"""What is asked for: kinds of requests, how often each, and what one costs on a profiled device."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.engine.options import EngineOptions
    from service.planning.profile import Profile

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")


class RequestKind(BaseModel):
    """One kind of request. `weight`: how often it comes, relative to the others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(ge=1, le=1000)
    width_px: int = Field(ge=1)
    height_px: int = Field(ge=1)
    is_guided: bool = True
    num_images: int = Field(default=1, ge=1, le=64)
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    def __str__(self) -> str:
        """Return a short label, e.g. `20 steps, 512x512, guided, 1 image`."""
        guided = "guided" if self.is_guided else "not guided"
        images = f"{self.num_images} image" + ("s" if self.num_images > 1 else "")
        return f"{self.steps} steps, {self.width_px}x{self.height_px}, {guided}, {images}"


@dataclass(frozen=True, slots=True, eq=False)
class KindCosts:
    """What one request of a kind costs an engine with given options.

    `key`: what must agree to share a denoiser call. `rows`, `budget`: rows of one image in a call,
    and what it takes of the row budget. `most_images`: how many the budget holds, at least one, as
    an empty engine takes anything. `step_s[r]`: seconds of a call of r rows, shared by the
    kinds of one key; padding included. `join_s`: text encoding, once a request. `decode_s`,
    `mark_s`, `mark_delay_s`: once an image.
    """

    kind: RequestKind
    key: int
    positions: int
    rows: int
    budget: float
    most_images: int
    step_s: tuple[float, ...]
    join_s: float
    decode_s: float
    mark_s: float
    mark_delay_s: float

    @property
    def engine_s(self) -> float:
        """Return the least engine time that a request takes in the fullest, cheapest batch."""
        step_s = min(
            self.step_s[count * self.rows] / count for count in range(1, self.most_images + 1)
        )
        image_s = self.kind.steps * step_s + self.decode_s + self.mark_delay_s
        return self.join_s + self.kind.num_images * image_s


def price(
    profile: Profile, kinds: Sequence[RequestKind], options: EngineOptions
) -> tuple[KindCosts, ...]:
    """Return the costs of each kind, in order.

    Raises ConfigurationError for a size that was not measured, and for more rows than were.
    """
    sizes = sorted({(kind.width_px, kind.height_px) for kind in kinds})
    tables = {size: _step_table(profile, size, options) for size in sizes}
    native = profile.native_positions
    found = []
    for kind in kinds:
        size = (kind.width_px, kind.height_px)
        shape = profile.shape(*size)
        rows = 2 if kind.is_guided else 1
        budget = rows * max(1.0, shape.latent_positions / native)
        found.append(
            KindCosts(
                kind=kind,
                key=sizes.index(size),
                positions=shape.latent_positions,
                rows=rows,
                budget=budget,
                most_images=max(1, int(options.max_batch_rows // budget)),
                step_s=tables[size],
                join_s=profile.encode_prompt.median_s,
                decode_s=shape.decode.median_s,
                mark_s=shape.mark.median_s,
                mark_delay_s=shape.mark_delay_s,
            )
        )
    return tuple(found)


def largest_call(max_batch_rows: int, positions: int, native_positions: int) -> int:
    """Return the rows of the largest call of a shape within a row budget; a guided image fits."""
    return max(2, int(max_batch_rows // max(1.0, positions / native_positions)))


def _step_table(
    profile: Profile, size: tuple[int, int], options: EngineOptions
) -> tuple[float, ...]:
    shape, asked = profile.shape(*size), options.max_batch_rows
    most = largest_call(asked, shape.latent_positions, profile.native_positions)
    padded = asked if options.pin_batch_rows else most
    if padded > shape.max_rows:
        raise ConfigurationError(
            f"The profile has calls of up to {shape.max_rows} rows for {size[0]}x{size[1]}, and "
            f"max_batch_rows={asked} leads to {padded}. Measure with `mintmark profile --max-rows "
            f"{asked}`" + (" --pin-batch-rows." if options.pin_batch_rows else ".")
        )
    if options.pin_batch_rows:
        return (0.0, *[shape.step_s(padded)] * most)
    return (0.0, *(shape.step_s(rows) for rows in range(1, most + 1)))


def default_kind(profile: Profile) -> RequestKind:
    """Return a request that says nothing but its prompt."""
    width_px, height_px = profile.model.native_size_px
    return RequestKind(
        steps=profile.model.default_steps,
        width_px=width_px,
        height_px=height_px,
        is_guided=profile.model.default_is_guided,
    )


def parse_kind(text: str, default: RequestKind) -> RequestKind:
    """Return a kind from e.g. `steps=20,size=768x512,guided=yes,images=1,weight=3`.

    What is not said is as in `default`. Raises ConfigurationError, naming what is wrong.
    """
    fields = default.model_dump()
    for part in filter(None, text.split(",")):
        name, _, value = (piece.strip() for piece in part.partition("="))
        match name:
            case "size":
                matched = _SIZE.fullmatch(value)
                if matched is None:
                    raise ConfigurationError(f"size={value}: a size is e.g. 512x512.")
                fields |= {"width_px": matched[1], "height_px": matched[2]}
            case "guided":
                fields["is_guided"] = value
            case "images":
                fields["num_images"] = value
            case "steps" | "weight":
                fields[name] = value
            case _:
                raise ConfigurationError(
                    f"{part!r} says nothing about a request; use steps=, size=, guided=, images= "
                    "and weight=."
                )
    try:
        return RequestKind.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigurationError(f"{text!r}: {first['loc'][0]}: {first['msg']}.") from error
