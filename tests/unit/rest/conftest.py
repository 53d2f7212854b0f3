"""One bench per test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rest_kit import RestBench, rest_bench


@pytest.fixture
def bench() -> Iterator[RestBench]:
    with rest_bench() as made:
        yield made
