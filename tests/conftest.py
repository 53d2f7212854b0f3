"""Marks tests by folder, so that `-m unit` and a path select the same tests."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import settings

FOLDERS = ("unit", "property", "contract", "integration", "e2e", "deploy")

# CI plays the same examples every time, so that red means changed; developers play new ones.
settings.register_profile("ci", derandomize=True)
# For the tests that divide it by ten: `make fuzz-api`.
settings.register_profile("fuzz", max_examples=3400)
if os.environ.get("CI"):
    settings.load_profile("ci")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a random API key by its argument: processes that share the tests must agree on names."""
    return argname if isinstance(val, str) and re.search(r"mm_[\w-]{30,}", val) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    root = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(root).parts[0]
        if folder in FOLDERS:
            item.add_marker(getattr(pytest.mark, folder))
