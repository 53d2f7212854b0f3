from __future__ import annotations

import dataclasses
import io
from collections import Counter

import numpy as np
import pytest
import torch

from models.training.art import Art, Picture, Split
from models.training.errors import TrainingError
from models.training.recipe import DataRecipe
from models.training.sampler import BatchSampler
from models.training.vocabulary import BACKGROUNDS, COLOURS, STYLES, Subject

SIDE_PX = 32
SUBJECTS = tuple(
    Subject(name, "object", f"1f{i:03x}") for i, name in enumerate(("brick", "leaf", "drop"))
)
RGB = {"brick": (200, 40, 40), "leaf": (40, 170, 60), "drop": (50, 90, 220)}
RECIPE = DataRecipe(size_px=SIDE_PX, resolution_px=SIDE_PX, recolour_share=0.3, pairs_share=0.3)


def squares(held_out: tuple[str, str] | None = None) -> Art:
    """Opaque squares, one per subject and style; "3d" has two drawings of each."""
    pixels, pictures = [], []
    for subject in SUBJECTS:
        for style, source in (("flat", "a"), ("3d", "b"), ("3d", "c")):
            picture = np.zeros((SIDE_PX, SIDE_PX, 4), np.uint8)
            picture[1:-1, 1:-1] = (*RGB[subject.name], 255)
            pixels.append(picture)
            split: Split = "held_out_pair" if (subject.name, style) == held_out else "train"
            pictures.append(Picture(subject.name, style, source, "0" * 64, split))
    styles = tuple(style for style in STYLES if style.name in ("flat", "3d"))
    return Art(np.stack(pixels), tuple(pictures), SUBJECTS, styles)


def sampler(seed: int = 1, **changes: object) -> BatchSampler:
    recipe = dataclasses.replace(RECIPE, **changes)  # type: ignore[arg-type]
    return BatchSampler(squares(), SIDE_PX, "cpu", seed, recipe)


def rgb_at(pixels: torch.Tensor, y: int, x: int) -> list[int]:
    return ((pixels[:, y, x] + 1) * 127.5).round().int().tolist()


def test_a_batch_has_the_promised_shapes_and_range() -> None:
    batch = sampler().sample(40)

    assert batch.pixels.shape == (40, 3, SIDE_PX, SIDE_PX)
    assert batch.pixels.dtype == torch.float32
    assert batch.pixels.min() >= -1
    assert batch.pixels.max() <= 1
    assert len(batch.captions) == len(batch.scenes) == 40
    for labels in (batch.subject, batch.style, batch.background, batch.recolour, batch.subject_2):
        assert labels.shape == (40,)
        assert labels.dtype == torch.int64


def test_labels_scenes_and_captions_agree() -> None:
    art = squares()
    batch = sampler(synonym_share=0.0).sample(100)

    for i, scene in enumerate(batch.scenes):
        assert scene.subject is art.subjects[batch.subject[i]]
        assert scene.style is art.styles[batch.style[i]]
        assert scene.background is BACKGROUNDS[batch.background[i]]
        colour = int(batch.recolour[i])
        assert scene.colour is (COLOURS[colour - 1] if colour else None)
        assert (scene.second is None) == (batch.subject_2[i] == -1)
        assert scene.subject.name in batch.captions[i]


def test_the_corner_shows_the_background_and_the_middle_the_object() -> None:
    batch = sampler().sample(60, recolour_share=0.0, pairs_share=0.0)

    for pixels, scene in zip(batch.pixels, batch.scenes, strict=True):
        assert rgb_at(pixels, 0, 0) == list(scene.background.rgb)
        assert rgb_at(pixels, SIDE_PX // 2, SIDE_PX // 2) == list(RGB[scene.subject.name])


def test_objects_lie_within_the_picture_at_the_recipes_scale() -> None:
    batch = sampler(scale_min=0.5, scale_max=0.9).sample(100, recolour_share=0.0, pairs_share=0.0)

    for pixels, scene in zip(batch.pixels, batch.scenes, strict=True):
        background = torch.tensor(scene.background.rgb) / 127.5 - 1
        is_object = (pixels - background[:, None, None]).abs().amax(0) > 0.02
        width = is_object.any(0).sum().item() / SIDE_PX
        assert 0.4 <= width <= 0.95
        assert not is_object[0].any()
        assert not is_object[:, -1].any()


def test_a_recoloured_object_has_the_colour_of_its_label() -> None:
    batch = sampler().sample(60, recolour_share=1.0, pairs_share=0.0)

    assert (batch.recolour > 0).all()
    for pixels, scene in zip(batch.pixels, batch.scenes, strict=True):
        assert scene.colour is not None
        middle = rgb_at(pixels, SIDE_PX // 2, SIDE_PX // 2)
        assert max(abs(a - b) for a, b in zip(middle, scene.colour.rgb, strict=True)) < 30


def test_the_first_of_two_is_left_or_above_and_both_have_one_style() -> None:
    batch = sampler().sample(60, recolour_share=0.0, pairs_share=1.0)
    scenes = [scene for scene in batch.scenes if scene.second is not None]

    assert {scene.arrangement for scene in scenes} == {"beside", "above"}
    for pixels, scene in zip(batch.pixels, batch.scenes, strict=True):
        if scene.second is None:
            continue
        assert scene.second is not scene.subject
        first, second = (
            ((16, 8), (16, 24)) if scene.arrangement == "beside" else ((8, 16), (24, 16))
        )
        assert rgb_at(pixels, *first) == list(RGB[scene.subject.name])
        assert rgb_at(pixels, *second) == list(RGB[scene.second.name])


def test_shares_are_those_of_the_recipe_unless_replaced() -> None:
    draws = sampler()
    batch = draws.sample(2000)

    assert 0.25 < (batch.recolour > 0).float().mean() < 0.35
    # A pair of the same subject, one in three here, becomes a single object.
    assert 0.15 < (batch.subject_2 >= 0).float().mean() < 0.25
    plain = draws.sample(200, recolour_share=0.0, pairs_share=0.0)
    assert not (plain.recolour > 0).any()
    assert (plain.subject_2 == -1).all()


def test_every_subject_and_style_is_equally_likely_however_many_drawings_it_has() -> None:
    batch = sampler().sample(3000)

    counts = Counter(zip(batch.subject.tolist(), batch.style.tolist(), strict=True))
    assert len(counts) == 6
    assert max(counts.values()) < 1.3 * min(counts.values())


def test_every_background_is_drawn_and_white_most_often() -> None:
    counts = torch.bincount(sampler().sample(3000).background, minlength=len(BACKGROUNDS))

    assert (counts > 0).all()
    assert BACKGROUNDS[int(counts.argmax())].name == "white"


def test_the_same_seed_gives_the_same_batches_and_another_seed_others() -> None:
    one, same, other = (sampler(seed).sample(16) for seed in (1, 1, 2))

    assert torch.equal(one.pixels, same.pixels)
    assert one.captions == same.captions
    assert not torch.equal(one.pixels, other.pixels)


def test_a_saved_state_goes_on_where_it_was_taken_even_from_a_file() -> None:
    draws = sampler()
    draws.sample(5)
    file = io.BytesIO()
    torch.save(draws.state_dict(), file)
    expected = draws.sample(8)

    file.seek(0)
    resumed = sampler(seed=99)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    batch = resumed.sample(8)
    assert torch.equal(batch.pixels, expected.pixels)
    assert batch.captions == expected.captions


def test_held_out_pairs_are_drawn_only_when_asked_for() -> None:
    art = squares(held_out=("leaf", "flat"))
    train, held_out, everything = (
        BatchSampler(art, SIDE_PX, "cpu", 1, RECIPE, split=split).sample(400, pairs_share=0.0)
        for split in ("train", "held_out_pair", "all")
    )

    def pairs(batch: object) -> set[tuple[str, str]]:
        return {(scene.subject.name, scene.style.name) for scene in batch.scenes}  # type: ignore[attr-defined]

    assert pairs(held_out) == {("leaf", "flat")}
    assert len(pairs(train)) == 5
    assert pairs(everything) == pairs(train) | pairs(held_out)


def test_a_split_without_pictures_is_refused() -> None:
    with pytest.raises(TrainingError, match="held_out_pair"):
        BatchSampler(squares(), SIDE_PX, "cpu", 1, RECIPE, split="held_out_pair")


def test_larger_art_gives_the_same_scene_at_the_asked_size() -> None:
    art = squares()
    large = dataclasses.replace(art, pixels=art.pixels.repeat(4, axis=1).repeat(4, axis=2))
    small = BatchSampler(art, SIDE_PX, "cpu", 1, RECIPE).sample(8, pairs_share=0.0)
    reduced = BatchSampler(large, SIDE_PX, "cpu", 1, RECIPE).sample(8, pairs_share=0.0)

    assert reduced.pixels.shape == small.pixels.shape
    assert (reduced.pixels - small.pixels).abs().mean() < 0.03


def test_captions_can_be_drawn_again_for_the_same_scenes() -> None:
    draws = sampler()
    batch = draws.sample(50)

    again = draws.draw_captions(batch.scenes)
    assert again != batch.captions
    assert all(scene.subject.name in text for scene, text in zip(batch.scenes, again, strict=True))
