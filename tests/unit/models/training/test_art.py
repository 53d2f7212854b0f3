from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models.training.art import FACTS_FILE, PIXELS_FILE, held_out_pairs, load_art
from models.training.art_build import (
    DATA_FOLDER,
    REPOSITORY,
    Drawing,
    build_art,
    own_drawings,
    rasterise_all,
)
from models.training.errors import TrainingError
from models.training.recipe import SMOKE_RECIPE_FILE, DataRecipe, load_recipe
from models.training.vocabulary import load_subjects

RECIPE = load_recipe(SMOKE_RECIPE_FILE).data
OWN_ART = REPOSITORY / RECIPE.art_folder
SIDE_PX = 32


def svg(body: str) -> Drawing:
    document = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">{body}</svg>'
    return Drawing("cat", "flat", "test", document.encode(), is_svg=True)


def drawn(body: str) -> np.ndarray:
    (picture,) = rasterise_all([svg(body)], SIDE_PX, processes=1)
    return np.asarray(picture)


def test_a_drawing_is_centred_and_fills_the_square() -> None:
    alpha = drawn('<rect x="2" y="40" width="20" height="10" fill="red"/>')[..., 3]

    rows, columns = (np.flatnonzero((alpha > 128).any(axis)) for axis in (1, 0))
    assert (columns[0], columns[-1]) == (1, SIDE_PX - 2)
    assert len(rows) == pytest.approx(len(columns) / 2, abs=1)
    assert rows[0] == pytest.approx(SIDE_PX - 1 - rows[-1], abs=1)


def test_colours_are_kept_up_to_the_edge() -> None:
    picture = drawn('<circle cx="32" cy="32" r="30" fill="#20c040"/>')

    solid = picture[picture[..., 3] > 200]
    assert np.abs(solid[:, :3].astype(int) - (0x20, 0xC0, 0x40)).max() <= 3


def test_several_processes_draw_the_same_in_the_same_order() -> None:
    drawings = [svg(f'<rect width="{8 + i}" height="20" fill="#{i}0{i}0ff"/>') for i in range(6)]

    alone = rasterise_all(drawings, SIDE_PX, processes=1)
    together = rasterise_all(drawings, SIDE_PX, processes=2)
    assert np.array_equal(alone, together)


@pytest.mark.parametrize(
    ("drawing", "message"),
    [
        (svg(""), "empty"),
        (Drawing("cat", "flat", "test", b"<svg", is_svg=True), "cannot be drawn"),
        (Drawing("cat", "3d", "test", b"RIFF", is_svg=False), "cannot be drawn"),
    ],
)
def test_a_drawing_that_cannot_be_drawn_is_named(drawing: Drawing, message: str) -> None:
    with pytest.raises(TrainingError, match=message) as caught:
        rasterise_all([drawing], SIDE_PX, processes=1)
    assert "'cat'" in str(caught.value)


def test_the_committed_drawings_make_a_data_set_that_loads(tmp_path: Path) -> None:
    art = build_art(tmp_path, RECIPE, processes=1)

    assert art.pixels.shape == (12, RECIPE.resolution_px, RECIPE.resolution_px, 4)
    assert len(art.subjects) == 6
    assert [style.name for style in art.styles] == ["soft", "flat"]
    assert sum(picture.split == "held_out_pair" for picture in art.pictures) == 1
    assert load_art(tmp_path / DATA_FOLDER).pictures == art.pictures


def test_a_finished_data_set_is_used_again_and_another_recipe_makes_another(
    tmp_path: Path,
) -> None:
    build_art(tmp_path, RECIPE, processes=1)
    written = (tmp_path / DATA_FOLDER / PIXELS_FILE).stat().st_mtime_ns

    build_art(tmp_path, RECIPE, processes=1)
    assert (tmp_path / DATA_FOLDER / PIXELS_FILE).stat().st_mtime_ns == written
    larger = DataRecipe(size_px=32, resolution_px=40, art_folder=RECIPE.art_folder)
    assert build_art(tmp_path, larger, processes=1).pixels.shape[1] == 40


def test_a_failed_build_leaves_the_old_data_set(tmp_path: Path) -> None:
    before = build_art(tmp_path, RECIPE, processes=1)

    with pytest.raises(TrainingError, match="holds no drawings"):
        build_art(tmp_path, DataRecipe(size_px=32, art_folder="tests/no-such"), processes=1)
    assert load_art(tmp_path / DATA_FOLDER).pictures == before.pictures


def test_a_drawing_of_an_unknown_subject_is_refused(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "no-such-thing.svg").write_text("<svg/>")

    with pytest.raises(TrainingError, match=r"no-such-thing\.svg"):
        own_drawings(tmp_path, load_subjects())


@pytest.mark.parametrize("name", [FACTS_FILE, PIXELS_FILE])
def test_a_missing_file_says_to_run_the_data_stage(tmp_path: Path, name: str) -> None:
    build_art(tmp_path, RECIPE, processes=1)
    (tmp_path / DATA_FOLDER / name).unlink()

    with pytest.raises(TrainingError, match="Run the data stage again"):
        load_art(tmp_path / DATA_FOLDER)


def test_changed_pixels_are_noticed(tmp_path: Path) -> None:
    build_art(tmp_path, RECIPE, processes=1)
    path = tmp_path / DATA_FOLDER / PIXELS_FILE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    with pytest.raises(TrainingError, match="is not what"):
        load_art(tmp_path / DATA_FOLDER)


def test_records_that_do_not_match_the_pixels_are_noticed(tmp_path: Path) -> None:
    build_art(tmp_path, RECIPE, processes=1)
    path = tmp_path / DATA_FOLDER / FACTS_FILE
    facts = json.loads(path.read_text())
    facts["pictures"].pop()
    path.write_text(json.dumps(facts))

    with pytest.raises(TrainingError, match="without a record"):
        load_art(tmp_path / DATA_FOLDER)


def test_held_out_pairs_are_a_fixed_share_and_leave_every_subject_a_style() -> None:
    pairs = [(f"s{i}", style) for i in range(200) for style in ("soft", "flat", "3d")]

    held_out = held_out_pairs(pairs, 0.05)
    assert len(held_out) == 30
    assert held_out == held_out_pairs(reversed(pairs), 0.05)
    assert len({subject for subject, _ in held_out}) == 30
    assert len({style for _, style in held_out}) == 3


def test_a_subjects_only_style_is_never_held_out() -> None:
    assert held_out_pairs([("cat", "flat"), ("dog", "flat")], 0.9) == frozenset()


def test_pairs_stay_held_out_when_subjects_are_added() -> None:
    few = [(f"s{i}", style) for i in range(100) for style in ("soft", "flat", "3d")]
    more = [*few, ("new", "soft"), ("new", "flat")]

    assert len(held_out_pairs(few, 0.05) - held_out_pairs(more, 0.05)) <= 1
