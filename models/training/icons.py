"""Reads Iconify's JSON icon sets."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.training.errors import TrainingError
from models.training.sources import read_members

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_VARIATION_SELECTOR = "-fe0f"


@dataclass(frozen=True, slots=True)
class IconifySet:
    """One set. icons: the parsed `icons.json`. names: an icon's name by code points, maybe none.

    Source: Iconify's IconifyJSON type.
    """

    icons: Mapping[str, Any]
    names: Mapping[str, str]

    @classmethod
    def from_tarball(cls, tarball: Path) -> IconifySet:
        """Read a package. Raises TrainingError if it is not an icon set."""
        members = read_members(tarball, frozenset({"icons.json", "chars.json"}), ".json")
        try:
            icons = json.loads(members["icons.json"])
            names = json.loads(members.get("chars.json", b"{}"))
            icons["icons"].keys()
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise TrainingError(f"{tarball} is not an Iconify icon set: {error}.") from error
        return cls(icons, names)

    def svg(self, names: Iterable[str]) -> str | None:
        """Return the drawing of the first of `names` that the set has, as an SVG document."""
        for name in names:
            icon = self._icon(name)
            if icon is not None:
                left, top = icon.get("left", 0), icon.get("top", 0)
                width, height = self._side(icon, "width"), self._side(icon, "height")
                return (
                    '<svg xmlns="http://www.w3.org/2000/svg" '
                    'xmlns:xlink="http://www.w3.org/1999/xlink" '
                    f'viewBox="{left} {top} {width} {height}">{icon["body"]}</svg>'
                )
        return None

    def _icon(self, name: str) -> Mapping[str, Any] | None:
        """Return an icon, through plain aliases; those that turn or mirror are left out."""
        icon: Mapping[str, Any] | None = self.icons["icons"].get(name)
        alias = self.icons.get("aliases", {}).get(name)
        if icon is None and alias is not None and alias.keys() == {"parent"}:
            return self._icon(alias["parent"])
        return icon

    def _side(self, icon: Mapping[str, Any], side: str) -> float:
        """Return the icon's width or height in its own units; 16 is the format's default."""
        return float(icon.get(side, self.icons.get(side, 16)))


def iconify_names(icon_sets: Iterable[IconifySet]) -> dict[str, tuple[str, ...]]:
    """Return the names that any set gives to an emoji, by code points without variation selectors.

    Some sets list no code points, but all share one naming scheme.
    """
    found: dict[str, list[str]] = {}
    for icon_set in icon_sets:
        for code_points, name in icon_set.names.items():
            of_emoji = found.setdefault(without_selectors(code_points), [])
            if name not in of_emoji:
                of_emoji.append(name)
    return {key: tuple(names) for key, names in found.items()}


def without_selectors(code_points: str) -> str:
    """Return code points without variation selectors, which sets use or leave out at will."""
    return code_points.replace(_VARIATION_SELECTOR, "")
