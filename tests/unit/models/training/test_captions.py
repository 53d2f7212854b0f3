from __future__ import annotations

import numpy as np
import pytest

from models.training.captions import (
    Scene,
    colourless_synonyms,
    draw_caption,
    plain_caption,
    with_article,
)
from models.training.vocabulary import BACKGROUNDS, COLOURS, STYLES, Subject, load_subjects

CAT = Subject("cat", "animal", "1f431", ("kitten",))
ROSE = Subject("rose", "plant", "1f339", ("red rose", "thorny flower"))
GRAPES = Subject("grapes", "food", "1f347", is_bare=True)
SOFT = STYLES[0]
BY_NAME = {background.name: background for background in BACKGROUNDS}
RED = COLOURS[0]
# The tokenizer's window is 32, begin and end included; common words are one token each.
MAX_WORDS = 28


def draws(scene: Scene, *, synonym_share: float = 0.3, count: int = 400) -> list[str]:
    rng = np.random.default_rng(5)
    return [draw_caption(rng, scene, synonym_share) for _ in range(count)]


@pytest.mark.parametrize(
    ("scene", "caption"),
    [
        (Scene(CAT, SOFT, BY_NAME["mint"]), "a cat, soft style, on a mint background"),
        (Scene(CAT, SOFT, BY_NAME["orange"]), "a cat, soft style, on an orange background"),
        (Scene(CAT, STYLES[3], BY_NAME["teal"], RED), "a red cat, 3d style, on a teal background"),
        (Scene(GRAPES, SOFT, BY_NAME["red"]), "grapes, soft style, on a red background"),
        (
            Scene(CAT, SOFT, BY_NAME["red"], second=ROSE),
            "a cat and a rose, soft style, on a red background",
        ),
        (
            Scene(CAT, SOFT, BY_NAME["red"], second=ROSE, arrangement="above"),
            "a cat above a rose, soft style, on a red background",
        ),
    ],
)
def test_the_plain_caption_follows_the_documented_form(scene: Scene, caption: str) -> None:
    assert plain_caption(scene) == caption


@pytest.mark.parametrize(
    ("words", "article"),
    [
        ("apple", "an"), ("hourglass", "an"), ("owl", "an"), ("cat", "a"), ("unicorn", "a"),
        ("ufo", "a"), ("umbrella", "an"), ("orange rocket", "an"), ("3d", "a"),
    ],
)  # fmt: skip
def test_articles_follow_the_sound(words: str, article: str) -> None:
    assert with_article(words) == f"{article} {words}"


def test_captions_of_one_scene_vary_and_repeat_with_the_seed() -> None:
    scene = Scene(CAT, SOFT, BY_NAME["teal"])

    assert draws(scene) == draws(scene)
    assert len(set(draws(scene))) > 10


def test_every_background_but_white_is_always_named() -> None:
    for background in BACKGROUNDS:
        named = [background.name in text for text in draws(Scene(CAT, SOFT, background))]
        assert all(named) == (background.name != "white")
        assert any(named)


def test_a_style_is_named_most_of_the_time() -> None:
    words = (SOFT.name, *SOFT.synonyms)
    texts = draws(Scene(CAT, SOFT, BY_NAME["navy"]), count=1000)

    named = sum(any(word in text for word in words) for text in texts)
    assert 0.85 < named / len(texts) < 0.97


def test_synonyms_are_used_as_often_as_asked() -> None:
    texts = draws(Scene(CAT, SOFT, BY_NAME["navy"]), synonym_share=0.3, count=1000)

    assert 0.25 < sum("kitten" in text for text in texts) / len(texts) < 0.35
    assert all(("kitten" in text) != ("cat" in text) for text in texts)


def test_a_recoloured_subject_never_goes_by_a_name_with_another_colour() -> None:
    texts = draws(Scene(ROSE, SOFT, BY_NAME["navy"], COLOURS[5]), synonym_share=0.9)

    assert colourless_synonyms(ROSE) == ("thorny flower",)
    assert all("blue" in text and "red" not in text.split() for text in texts)


@pytest.mark.parametrize("arrangement", ["beside", "above"])
def test_captions_of_two_objects_put_each_on_its_own_side(arrangement: str) -> None:
    scene = Scene(CAT, SOFT, BY_NAME["navy"], second=ROSE, arrangement=arrangement)  # type: ignore[arg-type]
    swapped = {"beside": "right of", "above": "below"}[arrangement]

    for text in draws(scene, synonym_share=0.0):
        assert (text.index("cat") < text.index("rose")) != (swapped in text)


def test_captions_of_the_whole_vocabulary_fit_the_tokenizers_window() -> None:
    rng = np.random.default_rng(1)
    subjects = load_subjects()
    for index, subject in enumerate(subjects):
        scene = Scene(
            subject,
            STYLES[index % len(STYLES)],
            BACKGROUNDS[index % len(BACKGROUNDS)],
            COLOURS[index % len(COLOURS)],
            subjects[index - 1],
        )
        for _ in range(5):
            caption = draw_caption(rng, scene, 0.5)
            assert len(caption.replace(",", " ,").replace("-", " - ").split()) <= MAX_WORDS, caption
            assert "{" not in caption
            assert caption == caption.strip()
