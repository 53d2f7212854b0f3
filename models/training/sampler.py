"""Draws training batches by lot: which drawing, where, in which colour, and how it is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from models.training.captions import Scene, draw_caption
from models.training.errors import TrainingError
from models.training.painter import Painter, Plan
from models.training.recolour import target_colours
from models.training.vocabulary import BACKGROUNDS, COLOURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.training.art import Art
    from models.training.recipe import DataRecipe

# White is what an unnamed background means, so it is drawn more often.
_WEIGHTS = {"white": 2.0}
# A background too near the object's colour hides it: such pictures are drawn less often.
_NEAR_DISTANCE, _NEAR_WEIGHT = 0.22, 0.2
# Share of the free room that an object may be off the centre.
_JITTER = 0.5
_PAIR_SCALE = (0.38, 0.47)
_PAIR_OFFSET, _PAIR_JITTER = 0.25, 0.04


@dataclass(frozen=True, slots=True)
class Batch:
    """n composited pictures. pixels: (n, 3, size, size) float32, -1 to 1. Labels: (n,) int64.

    recolour: 0 is natural, k is COLOURS[k - 1]. For a scene of two, labels are the first object's;
    subject_2: the second's, or -1. scenes: what captions are drawn from, as often as wanted.
    """

    pixels: torch.Tensor
    captions: list[str]
    scenes: list[Scene]
    subject: torch.Tensor
    style: torch.Tensor
    background: torch.Tensor
    recolour: torch.Tensor
    subject_2: torch.Tensor


class BatchSampler:
    """Endless batches, the same for the same seed on every device.

    split: the pictures to draw from; "all" takes both. Each (subject, style) is equally likely,
    however many drawings it has. Everything lies on `device`: N x 4 x size x size bytes.
    Raises TrainingError if no picture is of that split.
    """

    def __init__(
        self,
        art: Art,
        size_px: int,
        device: torch.device | str,
        seed: int,
        recipe: DataRecipe,
        *,
        split: Literal["train", "held_out_pair", "all"] = "train",
    ) -> None:
        rows = [i for i, p in enumerate(art.pictures) if split in (p.split, "all")]
        if not rows:
            raise TrainingError(f"The data set has no pictures of the split {split!r}.")
        # By style, so that a second object of the same style is one contiguous range.
        styles = {style.name: index for index, style in enumerate(art.styles)}
        rows.sort(key=lambda row: styles[art.pictures[row].style])
        self._art, self._recipe = art, recipe
        self._device = torch.device(device)
        self._generator = torch.Generator().manual_seed(seed)
        self._rng = np.random.default_rng(seed)
        subjects = {subject.name: index for index, subject in enumerate(art.subjects)}
        pictures = [art.pictures[row] for row in rows]
        self._subject = torch.tensor([subjects[picture.subject] for picture in pictures])
        self._style = torch.tensor([styles[picture.style] for picture in pictures])
        self._cumulative = self._cumulate_pairs()
        self._painter = Painter(art, rows, size_px, recipe.scale_max, self._device)
        self._can_recolour = self._painter.main.can_recolour.cpu()
        self._background_weights = _background_weights(self._painter.main.mean_rgb.cpu())
        self._colour_weights = _background_weights(target_colours("cpu"))

    def sample(
        self, n: int, *, recolour_share: float | None = None, pairs_share: float | None = None
    ) -> Batch:
        """Return n pictures. The shares, 0 to 1, replace the recipe's."""
        plan = self._plan(
            n,
            self._recipe.recolour_share if recolour_share is None else recolour_share,
            self._recipe.pairs_share if pairs_share is None else pairs_share,
        )
        scenes = self._scenes(plan)
        has_second = plan.second >= 0
        return Batch(
            pixels=self._painter.paint(plan),
            captions=self.draw_captions(scenes),
            scenes=scenes,
            subject=self._subject[plan.first].to(self._device),
            style=self._style[plan.first].to(self._device),
            background=plan.background.to(self._device),
            recolour=plan.colour.to(self._device),
            subject_2=torch.where(has_second, self._subject[plan.second], -1).to(self._device),
        )

    def draw_captions(self, scenes: Sequence[Scene]) -> list[str]:
        """Return a fresh caption of each scene."""
        share = self._recipe.synonym_share
        return [draw_caption(self._rng, scene, share) for scene in scenes]

    def state_dict(self) -> dict[str, Any]:
        """Return where the random sequences stand, for `load_state_dict`."""
        return {
            "generator": self._generator.get_state(),
            "captions": self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._generator.set_state(state["generator"])
        self._rng.bit_generator.state = state["captions"]

    def _cumulate_pairs(self) -> torch.Tensor:
        """Return cumulative weights (N,) that make every (subject, style) equally likely."""
        pair = self._subject * len(self._art.styles) + self._style
        weights: torch.Tensor = 1 / pair.bincount().double()[pair]
        return weights.cumsum(0)

    def _plan(self, n: int, recolour_share: float, pairs_share: float) -> Plan:
        """Draw lots for n pictures."""
        lots = torch.rand((n, 16), generator=self._generator, dtype=torch.float64)
        first = self._pick(lots[:, 0], torch.zeros(n, dtype=torch.float64), self._cumulative[-1])
        # The range of the first one's style, in cumulative weight.
        edges = torch.searchsorted(self._style, torch.arange(len(self._art.styles) + 1))
        bounds = torch.cat([torch.zeros(1, dtype=torch.float64), self._cumulative])[edges]
        style = self._style[first]
        second = self._pick(lots[:, 1], bounds[style], bounds[style + 1])
        # Two of the same would need other words ("two cats").
        is_pair = (lots[:, 2] < pairs_share) & (self._subject[first] != self._subject[second])
        is_coloured = (lots[:, 3] < recolour_share) & self._can_recolour[first]
        colour = torch.where(is_coloured, 1 + (lots[:, 4] * len(COLOURS)).long(), 0)
        weights = torch.where(
            is_coloured[:, None],
            self._colour_weights[(colour - 1).clamp_min(0)],
            self._background_weights[first],
        ).cumsum(1)
        background = (weights < lots[:, 5:6] * weights[:, -1:]).sum(1)
        is_above = lots[:, 6] < 0.5  # noqa: PLR2004
        return Plan(
            first,
            torch.where(is_pair, second, -1),
            is_above,
            colour,
            background,
            self._place(lots[:, 7:16], is_pair, is_above),
        )

    def _pick(self, lot: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        """Return pictures by lot, 0 to 1, between two cumulative weights."""
        at = low + lot * (high - low)
        return torch.searchsorted(self._cumulative, at, right=True).clamp_max(
            len(self._cumulative) - 1
        )

    def _place(
        self, lots: torch.Tensor, is_pair: torch.Tensor, is_above: torch.Tensor
    ) -> torch.Tensor:
        """Return where objects go, (n, 2, 4), from nine lots each."""
        low, high = self._recipe.scale_min, self._recipe.scale_max
        single = low + lots[:, 0] * (high - low)
        room = (1 - single) * _JITTER
        alone = torch.stack(
            [single, (lots[:, 1] - 0.5) * room, (lots[:, 2] - 0.5) * room, lots[:, 7]], dim=1
        )
        small = _PAIR_SCALE[0] + lots[:, 3:5] * (_PAIR_SCALE[1] - _PAIR_SCALE[0])
        along = torch.tensor([-_PAIR_OFFSET, _PAIR_OFFSET], dtype=lots.dtype)
        along = along + (lots[:, 5:6] - 0.5) * _PAIR_JITTER
        across = ((lots[:, 6:7] - 0.5) * 2 * _PAIR_JITTER).expand_as(along)
        x = torch.where(is_above[:, None], across, along)
        y = torch.where(is_above[:, None], along, across)
        place = torch.stack([small, x, y, lots[:, 7:9]], dim=2)
        place[:, 0] = torch.where(is_pair[:, None], place[:, 0], alone)
        place[:, :, 3] = torch.where(place[:, :, 3] < self._recipe.flip_share, -1.0, 1.0)
        return place.float()

    def _scenes(self, plan: Plan) -> list[Scene]:
        """Return what the captions have to say."""
        subjects, styles = self._art.subjects, self._art.styles
        seconds = torch.where(plan.second >= 0, self._subject[plan.second], -1)
        columns = (
            self._subject[plan.first], self._style[plan.first], plan.background, plan.colour,
            seconds, plan.is_above,
        )  # fmt: skip
        return [
            Scene(
                subjects[subject],
                styles[style],
                BACKGROUNDS[background],
                COLOURS[colour - 1] if colour else None,
                subjects[second] if second >= 0 else None,
                "above" if is_above else "beside",
            )
            for subject, style, background, colour, second, is_above in zip(
                *(column.tolist() for column in columns), strict=True
            )
        ]


def _background_weights(colours: torch.Tensor) -> torch.Tensor:
    """Return how readily each colour (N, 3), 0 to 1, is put on each background: (N, 17)."""
    backgrounds = torch.tensor([background.rgb for background in BACKGROUNDS]).double() / 255
    weights = torch.tensor([_WEIGHTS.get(b.name, 1.0) for b in BACKGROUNDS]).double()
    distance = torch.cdist(colours.double(), backgrounds)
    return torch.where(distance < _NEAR_DISTANCE, weights * _NEAR_WEIGHT, weights)
