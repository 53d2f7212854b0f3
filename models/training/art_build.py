"""The data stage: fetches the art sets, rasterises them and stores one data set."""

from __future__ import annotations

import hashlib
import io
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import resvg_py
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from models.training.art import Art, Picture, art_digest, held_out_pairs, load_art, save_art
from models.training.errors import TrainingError
from models.training.icons import IconifySet, iconify_names, without_selectors
from models.training.sources import ArtSource, Sources, fetch_package, load_sources, read_members
from models.training.storage import new_folder
from models.training.vocabulary import STYLES, Subject, load_subjects

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from models.training.recipe import DataRecipe

DATA_FOLDER = "data"
TARBALLS_FOLDER = "tarballs"
REPOSITORY = Path(__file__).parents[2]
# Raise this when the same sources and recipe give other pixels or labels than before.
_VERSION = 1
# Drawn at twice the size, then reduced: the crop to the drawing's own box loses no sharpness.
_OVERSAMPLING = 2
# Part of the side left free around the drawing's box, so that no edge touches the border.
_MARGIN = 1 / 64
_MIN_ALPHA = 16
_CHUNK = 16


@dataclass(frozen=True, slots=True)
class Drawing:
    """One source of one picture. content: an SVG document, or a raster file if not `is_svg`."""

    subject: str
    style: str
    source: str
    content: bytes
    is_svg: bool


def build_art(work: Path, recipe: DataRecipe, *, processes: int | None = None) -> Art:
    """Return the data set of `recipe` in `work`, made now unless it is there already.

    processes: that rasterise; None is one per core. The data set appears in `work` whole or not at
    all. Raises TrainingError if a package cannot be had, a drawing cannot be read, the art folder
    has unknown names, or the disk is full.
    """
    folder = work / DATA_FOLDER
    subjects = load_subjects()
    subjects = subjects[: recipe.subjects or None]
    if recipe.art_folder:
        drawings = own_drawings(REPOSITORY / recipe.art_folder, subjects)
    else:
        drawings = _locked_drawings(work / TARBALLS_FOLDER, load_sources(), subjects)
    digest = _digest(recipe, subjects, drawings)
    if art_digest(folder) == digest:
        return load_art(folder)
    pixels = rasterise_all(drawings, recipe.resolution_px, processes=processes)
    with new_folder(folder) as partial:
        save_art(partial, _label(drawings, pixels, subjects, recipe.held_out_share), digest)
    return load_art(folder)


def own_drawings(folder: Path, subjects: Sequence[Subject]) -> list[Drawing]:
    """Return the drawings `<style>/<subject>.svg` of a folder; "-" in a name is a space.

    Raises TrainingError if there are none, or one is named for no known style or subject.
    """
    styles, names = {style.name for style in STYLES}, {subject.name for subject in subjects}
    drawings = []
    for path in sorted(folder.glob("*/*.svg")):
        style, subject = path.parent.name, path.stem.replace("-", " ")
        if style not in styles or subject not in names:
            raise TrainingError(f"{path} is named for no style and subject of the vocabulary.")
        drawings.append(Drawing(subject, style, folder.name, path.read_bytes(), is_svg=True))
    if not drawings:
        raise TrainingError(f"{folder} holds no drawings <style>/<subject>.svg. Check art_folder.")
    return drawings


def _locked_drawings(
    tarballs: Path, sources: Sources, subjects: Sequence[Subject]
) -> list[Drawing]:
    """Return every drawing that the locked sets have of the subjects, in order of subject."""
    paths = [fetch_package(source.package, tarballs) for source in sources.art]
    icon_sets = {
        source.package.name: IconifySet.from_tarball(path)
        for source, path in zip(sources.art, paths, strict=True)
        if source.layout == "iconify"
    }
    rasters = {
        source.package.name: _rasters(path, subjects)
        for source, path in zip(sources.art, paths, strict=True)
        if source.layout == "webp"
    }
    names = iconify_names(icon_sets.values())
    drawings = []
    for subject in subjects:
        for source in sources.art:
            if subject.emoji in source.excluded:
                continue
            if source.layout == "iconify":
                of_emoji = names.get(without_selectors(subject.emoji), ())
                svg = icon_sets[source.package.name].svg(of_emoji)
                content = svg.encode() if svg is not None else None
            else:
                content = rasters[source.package.name].get(subject.emoji)
            if content is not None:
                drawings.append(_drawing(subject, source, content))
    return drawings


def _drawing(subject: Subject, source: ArtSource, content: bytes) -> Drawing:
    """Return a drawing of a locked set."""
    is_svg = source.layout == "iconify"
    return Drawing(subject.name, source.style, source.package.name, content, is_svg)


def _rasters(tarball: Path, subjects: Sequence[Subject]) -> dict[str, bytes]:
    """Return the raster files of the subjects, by emoji. Files may end in a variation selector."""
    wanted = {
        f"assets/{name}.webp": subject.emoji
        for subject in subjects
        for name in (subject.emoji, f"{subject.emoji}-fe0f")
    }
    members = read_members(tarball, frozenset(wanted), ".webp")
    return {wanted[name]: content for name, content in members.items()}


def rasterise_all(
    drawings: Sequence[Drawing], resolution_px: int, *, processes: int | None = None
) -> NDArray[np.uint8]:
    """Return the drawings as (N, resolution_px, resolution_px, 4) RGBA, with a progress bar.

    Raises TrainingError, naming the drawing, if one cannot be drawn or is empty.
    """
    pixels = np.empty((len(drawings), resolution_px, resolution_px, 4), np.uint8)
    jobs = [(drawing, resolution_px) for drawing in drawings]
    workers = min(processes or os.cpu_count() or 1, len(jobs))
    bar = tqdm(total=len(jobs), desc="rasterise", unit="picture")
    with bar:
        for index, picture in enumerate(_map(jobs, workers)):
            pixels[index] = picture
            bar.update()
    return pixels


def _map(jobs: list[tuple[Drawing, int]], workers: int) -> Iterator[NDArray[np.uint8]]:
    """Rasterise in order, in this process if one worker is enough."""
    if workers == 1:
        yield from map(_rasterise, jobs)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(_rasterise, jobs, chunksize=_CHUNK)


def _rasterise(job: tuple[Drawing, int]) -> NDArray[np.uint8]:
    """Draw one picture: its own box centred in a square, (R, R, 4)."""
    drawing, resolution_px = job
    name = f"The {drawing.source} drawing of {drawing.subject!r}"
    try:
        content = drawing.content
        if drawing.is_svg:
            side_px = resolution_px * _OVERSAMPLING
            svg = content.decode()
            content = bytes(
                resvg_py.svg_to_bytes(
                    svg_string=svg, width=side_px, height=side_px, skip_system_fonts=True
                )
            )
        image = Image.open(io.BytesIO(content)).convert("RGBa")
    except (ValueError, OSError, UnidentifiedImageError) as error:
        raise TrainingError(f"{name} cannot be drawn: {error}. Drop it from the data.") from error
    box = image.getchannel("a").point(lambda alpha: 255 * (alpha >= _MIN_ALPHA)).getbbox()
    if box is None:
        raise TrainingError(f"{name} is empty. Drop it from the data.")
    return _centred(image.crop(box), resolution_px)


def _centred(image: Image.Image, resolution_px: int) -> NDArray[np.uint8]:
    """Return a premultiplied picture scaled to fit and centred on a transparent square."""
    free_px = max(1, round(resolution_px * _MARGIN))
    scale = (resolution_px - 2 * free_px) / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    # A filter without negative lobes: others ring, which shows as halos in flat colours.
    small = image.resize((width, height), Image.Resampling.HAMMING)
    square = Image.new("RGBa", (resolution_px, resolution_px))
    square.paste(small, ((resolution_px - width) // 2, (resolution_px - height) // 2))
    return np.asarray(square.convert("RGBA"))


def _label(
    drawings: Sequence[Drawing],
    pixels: NDArray[np.uint8],
    subjects: Sequence[Subject],
    held_out_share: float,
) -> Art:
    """Return the data set with its splits, and only with subjects and styles that occur."""
    pairs = [(drawing.subject, drawing.style) for drawing in drawings]
    held_out = held_out_pairs(pairs, held_out_share)
    pictures = tuple(
        Picture(
            drawing.subject,
            drawing.style,
            drawing.source,
            hashlib.sha256(drawing.content).hexdigest(),
            "held_out_pair" if pair in held_out else "train",
        )
        for drawing, pair in zip(drawings, pairs, strict=True)
    )
    drawn_subjects, drawn_styles = {pair[0] for pair in pairs}, {pair[1] for pair in pairs}
    return Art(
        pixels,
        pictures,
        tuple(subject for subject in subjects if subject.name in drawn_subjects),
        tuple(style for style in STYLES if style.name in drawn_styles),
    )


def _digest(recipe: DataRecipe, subjects: Sequence[Subject], drawings: Sequence[Drawing]) -> str:
    """Return a hex digest over everything the data set is made from."""
    facts = {
        "version": _VERSION,
        "resolution_px": recipe.resolution_px,
        "held_out_share": recipe.held_out_share,
        "subjects": [asdict(subject) for subject in subjects],
        "drawings": [
            (d.subject, d.style, d.source, hashlib.sha256(d.content).hexdigest()) for d in drawings
        ],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
