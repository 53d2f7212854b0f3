"""Marks tests by folder, so that `-m unit` and a path select the same tests."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDERS = ("unit", "property", "contract", "integration", "e2e")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    root = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(root).parts[0]
        if folder in FOLDERS:
            item.add_marker(getattr(pytest.mark, folder))
