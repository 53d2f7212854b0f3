from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from models.training.errors import TrainingError
from models.training.memorisation import nearest_drawing
from models.training.metrics import border_colours, nearest_colours
from models.training.reference import (
    Facts,
    Renderer,
    Scope,
    grid_prompts,
    held_out_digest,
)
from models.training.vocabulary import BACKGROUNDS
from tests.unit.models.training.shapes import SIDE_PX, shapes_art, smoke_recipe

ART = shapes_art(held_out=(("star", "flat"),))
DATA = smoke_recipe().data


APPLE, CAT = ART.subjects[:2]
FLAT = next(style for style in ART.styles if style.name == "flat")


def named(names):
    return {i: dataclasses.replace(APPLE, name=name) for i, name in enumerate(names)}


def test_a_prompt_names_every_fact():
    facts = Facts(*(np.array([label]) for label in (0, 0, 5, 6)))
    scope = Scope({0: APPLE}, {0: FLAT})
    assert facts.prompts(scope) == ["a blue apple, flat style, on a yellow background"]


def test_orders_have_a_seed_each():
    facts = Facts(*(np.zeros(3, np.int64) for _ in range(4)))
    orders = facts.orders(Scope({0: CAT}, {0: FLAT}), first_seed=10)
    assert [order.seed for order in orders] == [10, 11, 12]


def test_a_model_is_asked_in_its_own_words_for_what_it_knows():
    subject = dataclasses.replace(ART.subjects[0], synonyms=("pippin",))
    art = dataclasses.replace(ART, subjects=(subject, *ART.subjects[1:]))
    scope = Scope.of(art, {"subjects": ["pippin", "car", "zebra"], "styles": ["3d", "soft"]})
    assert {label: subject.name for label, subject in scope.subjects.items()} == {
        0: "pippin",
        5: "car",
    }
    assert [style.name for style in scope.styles.values()] == ["3d"]
    assert scope.unmatched == ("zebra",)
    pictures = scope.restrict(art).pictures
    assert [(p.subject, p.style) for p in pictures] == [("apple", "3d"), ("car", "3d")]


def test_a_card_without_lists_knows_all():
    scope = Scope.of(ART, {})
    assert (len(scope.subjects), len(scope.styles), scope.unmatched) == (6, 2, ())


@pytest.mark.parametrize("card", [{"subjects": ["zebra"]}, {"styles": ["cubist"]}])
def test_a_model_of_another_world_is_refused(card):
    with pytest.raises(TrainingError, match=r"models\.training data"):
        Scope.of(ART, card)


def test_renders_show_what_their_facts_say():
    renders = Renderer(ART, SIDE_PX, DATA).draw(300, seed=4)
    palette = np.array([background.rgb for background in BACKGROUNDS], np.float64)
    seen = nearest_colours(border_colours(renders.pictures), palette)
    assert (seen == renders.facts.background).mean() > 0.97
    assert not renders.facts.recolour.any()
    # The held-out pair is label 2 in the first of the two styles.
    pairs = set(zip(renders.facts.subject.tolist(), renders.facts.style.tolist(), strict=True))
    flat = [style.name for style in ART.styles].index("flat")
    assert (2, flat) not in pairs
    assert len(pairs) == 11


def test_renders_repeat_and_differ_by_seed():
    renderer = Renderer(ART, SIDE_PX, DATA)
    one, again, other = (renderer.draw(8, seed=seed).pictures for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_recoloured_renders_are_all_recoloured():
    assert Renderer(ART, SIDE_PX, DATA).draw(20, seed=1, recolour_share=1.0).facts.recolour.all()


def test_the_grid_keeps_to_what_the_model_knows():
    names = ["cat", "apple", *(f"thing {i}" for i in range(20))]
    scope = Scope(named(names), {0: FLAT})
    prompts = grid_prompts(scope)
    assert len(prompts) == len(set(prompts)) == 16
    assert prompts[0] == "a cat, flat style, on a sky blue background"
    assert sum("thing" in prompt for prompt in prompts) == 14


def test_a_small_vocabulary_makes_a_small_grid():
    assert len(grid_prompts(Scope(named(["cat", "newt"]), {0: FLAT}))) == 2


def test_the_held_out_digest_knows_the_pairs_and_nothing_else():
    fewer_pictures = dataclasses.replace(ART, pictures=ART.pictures[::-1])
    assert held_out_digest(ART) == held_out_digest(fewer_pictures)
    assert held_out_digest(ART) != held_out_digest(shapes_art(held_out=(("star", "3d"),)))
    assert held_out_digest(shapes_art()) == ""


def test_a_copy_of_a_training_drawing_is_nearer_than_a_new_one():
    renderer = Renderer(ART, SIDE_PX, DATA)
    copies, news = renderer.draw(40, seed=1), renderer.draw(40, seed=2, split="held_out_pair")
    copied = nearest_drawing(ART, copies.pictures, copies.facts.background)
    new = nearest_drawing(ART, news.pictures, news.facts.background)
    assert np.median(copied) > np.median(new)
    assert np.median(copied) > 0.9
