"""Proposes a table of subjects from emojibase-data, to be chosen and named by hand.

`python -m models.training.propose_subjects --tarballs var/training/tarballs > draft.toml` is how
subjects.toml began. Nothing else runs it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.training.errors import TrainingError
from models.training.sources import fetch_package, load_sources, read_members

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.training.vocabulary import Category

_LABELS_FILE = "en/data.json"
_MAX_SYNONYMS = 4
# Emojibase's group numbers. Left out: people (1), skin tones (2), lettered symbols (8), flags (9).
_GROUPS: dict[int, Category] = {
    0: "face",
    3: "animal",
    4: "food",
    5: "vehicle",
    6: "object",
    7: "object",
}
# Subgroups whose category is not their group's.
_SUBGROUPS: dict[int, Category] = {
    40: "plant", 41: "plant", 49: "object", 50: "object", 51: "object", 52: "object",
    53: "object", 57: "object", 58: "object", 59: "weather",
}  # fmt: skip


def propose(records: list[dict[str, Any]]) -> Iterator[str]:
    """Yield one TOML table per emoji that could be a subject, in emojibase's order.

    The name is the label without "face", which people leave out; the synonyms are the first tags
    that say something else. Source: emojibase's compact data format.
    """
    for record in records:
        category = _SUBGROUPS.get(record.get("subgroup", -1), _GROUPS.get(record.get("group", -1)))
        if category is None:
            continue
        name = record["label"].lower()
        if category == "animal":
            name = name.removesuffix(" face")
        words = set(name.split())
        tags = [tag for tag in record.get("tags", ()) if words.isdisjoint(tag.split())]
        yield "\n".join(
            (
                "[[subject]]",
                f"name = {json.dumps(name, ensure_ascii=False)}",
                f'category = "{category}"',
                f'emoji = "{record["hexcode"].lower()}"',
                f"synonyms = {json.dumps(tags[:_MAX_SYNONYMS], ensure_ascii=False)}",
                "",
            )
        )


def main() -> None:
    """Print the draft."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tarballs", type=Path, default=Path("var/training/tarballs"))
    tarball = fetch_package(load_sources().labels, parser.parse_args().tarballs)
    members = read_members(tarball, frozenset({_LABELS_FILE}), ".json")
    if _LABELS_FILE not in members:
        raise TrainingError(f"{tarball} has no {_LABELS_FILE}. Update the lock in sources.toml.")
    print("\n".join(propose(json.loads(members[_LABELS_FILE]))))


if __name__ == "__main__":
    main()
