from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from models.training.errors import TrainingError
from models.training.vocabulary import (
    BACKGROUNDS,
    CATEGORIES,
    COLOURS,
    STYLES,
    Subject,
    load_subjects,
)

ENTRY = '[[subject]]\nname = "{name}"\ncategory = "{category}"\nemoji = "{emoji}"\n'


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "subjects.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_committed_table_has_400_to_600_subjects_of_every_category() -> None:
    subjects = load_subjects()

    assert 400 <= len(subjects) <= 600
    counts = Counter(subject.category for subject in subjects)
    assert set(counts) == set(CATEGORIES)
    assert min(counts.values()) >= 20


def test_names_are_lower_case_words_without_stray_spaces() -> None:
    for subject in load_subjects():
        for name in (subject.name, *subject.synonyms):
            assert name == " ".join(name.lower().split())
            assert name.isascii()


def test_no_subject_is_a_flag_a_keycap_or_of_a_skin_tone() -> None:
    for subject in load_subjects():
        points = [int(point, 16) for point in subject.emoji.split("-")]
        assert not any(0x1F1E6 <= point <= 0x1F1FF for point in points)
        assert not any(0x1F3FB <= point <= 0x1F3FF for point in points)
        assert 0x20E3 not in points


def test_the_first_hundred_subjects_are_of_every_category() -> None:
    assert {subject.category for subject in load_subjects()[:100]} == set(CATEGORIES)


def test_the_subjects_of_the_starter_model_are_all_known() -> None:
    known = {name for s in load_subjects() for name in (s.name, *s.synonyms)}

    assert {"cat", "panda", "ladybug", "donut", "pine tree", "soccer ball", "smiley"} <= known


def test_colours_lie_at_least_15_degrees_of_hue_apart() -> None:
    hues = sorted(colour.hue_deg for colour in COLOURS)

    gaps = [b - a for a, b in zip(hues, [*hues[1:], hues[0] + 360], strict=True)]
    assert min(gaps) > 15


def test_backgrounds_can_be_told_apart() -> None:
    for index, one in enumerate(BACKGROUNDS):
        for other in BACKGROUNDS[index + 1 :]:
            distance = sum(abs(a - b) for a, b in zip(one.rgb, other.rgb, strict=True))
            assert distance > 40, (one.name, other.name)


def test_names_of_styles_backgrounds_and_colours_are_unique() -> None:
    for words in (STYLES, BACKGROUNDS, COLOURS):
        names = [word.name for word in words]
        assert len(set(names)) == len(names)


def test_a_table_is_read_in_its_order(tmp_path: Path) -> None:
    text = ENTRY.format(name="owl", category="animal", emoji="1f989") + 'synonyms = ["hooter"]\n'
    text += ENTRY.format(name="ant", category="animal", emoji="1f41c") + "is_bare = true\n"

    assert load_subjects(table(tmp_path, text)) == (
        Subject("owl", "animal", "1f989", ("hooter",)),
        Subject("ant", "animal", "1f41c", is_bare=True),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no subjects"),
        ("[[subject", "cannot be read"),
        ('[[subject]]\nname = "owl"\n', "must have the fields"),
        (ENTRY.format(name="a", category="animal", emoji="1") + "colour = 1\n", "no others"),
        (ENTRY.format(name="owl", category="bird", emoji="1f989"), "category"),
        (
            ENTRY.format(name="owl", category="animal", emoji="1")
            + ENTRY.format(name="owl", category="animal", emoji="2"),
            "used twice: owl",
        ),
        (
            ENTRY.format(name="owl", category="animal", emoji="1")
            + ENTRY.format(name="ant", category="animal", emoji="2")
            + 'synonyms = ["owl"]\n',
            "used twice: owl",
        ),
        (
            ENTRY.format(name="owl", category="animal", emoji="1")
            + ENTRY.format(name="ant", category="animal", emoji="1"),
            "emoji used twice: 1",
        ),
    ],
)
def test_a_damaged_table_is_refused_with_the_reason(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        load_subjects(table(tmp_path, text))


def test_a_missing_table_says_how_to_get_it_back(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="git"):
        load_subjects(tmp_path / "none.toml")
