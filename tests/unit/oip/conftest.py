from __future__ import annotations

import pytest

from tests.rest_kit import rest_bench


@pytest.fixture
def bench():
    with rest_bench() as made:
        yield made
