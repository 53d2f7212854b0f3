"""What can be watched while a stage trains: metrics.jsonl, loss.png and sample grids."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from models.training.storage import explained, replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_GAP_PX = 4
_MAX_POINTS = 400


class Journal:
    """The visible record of one run in `folder`.

    first_step: entries from here on are forgotten; they come from a part of the run that was lost
    with an interruption and is done again.
    """

    def __init__(self, folder: Path, *, first_step: int = 0) -> None:
        self._folder = folder
        self._path = folder / "metrics.jsonl"
        self._entries = [entry for entry in _read_lines(self._path) if entry["step"] <= first_step]
        lines = "".join(f"{json.dumps(entry)}\n" for entry in self._entries)
        replace_file(self._path, lines.encode())

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line. step: steps done so far."""
        entry = {"step": step, **{name: float(f"{v:.6g}") for name, v in values.items()}}
        self._entries.append(entry)
        with explained(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(entry)}\n")

    def add_samples(self, step: int, grid: NDArray[np.uint8]) -> None:
        """Write `samples-<step>.png`. grid: (H, W, 3)."""
        buffer = io.BytesIO()
        Image.fromarray(grid).save(buffer, "PNG")
        replace_file(self._folder / f"samples-{step:08d}.png", buffer.getvalue())

    def plot(self) -> None:
        """Write `loss.png`: every recorded value against the steps, one panel each."""
        # Imported here: matplotlib takes a second, and only a run that is watched needs it.
        from matplotlib.figure import Figure  # noqa: PLC0415

        names = sorted({name for entry in self._entries for name in entry} - {"step"})
        if not names:
            return
        figure = Figure(figsize=(8, 2.2 * len(names)), layout="constrained")
        panels = np.atleast_1d(figure.subplots(len(names), 1, sharex=True))
        for panel, name in zip(panels, names, strict=True):
            points = [(entry["step"], entry[name]) for entry in self._entries if name in entry]
            every = max(1, len(points) // _MAX_POINTS)
            panel.plot(*zip(*points[::every], strict=True), linewidth=1)
            panel.set_ylabel(name)
            panel.grid(visible=True, alpha=0.3)
        panels[-1].set_xlabel("steps")
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=90)
        replace_file(self._folder / "loss.png", buffer.getvalue())


def make_grid(pictures: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Return pictures (N, H, W, 3) as one picture, row by row, on white."""
    count, height, width, _ = pictures.shape
    rows = -(-count // columns)
    grid = np.full(
        (rows * (height + _GAP_PX) + _GAP_PX, columns * (width + _GAP_PX) + _GAP_PX, 3),
        255,
        np.uint8,
    )
    for index, picture in enumerate(pictures):
        top = _GAP_PX + index // columns * (height + _GAP_PX)
        left = _GAP_PX + index % columns * (width + _GAP_PX)
        grid[top : top + height, left : left + width] = picture
    return grid


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the entries of an earlier run; a line cut short by a crash is left out."""
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            entries.append(entry)
    return entries
