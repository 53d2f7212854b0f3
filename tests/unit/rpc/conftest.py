"""A running gRPC server over fakes."""

from __future__ import annotations

import pytest

from tests.rpc_kit import rpc_bench


@pytest.fixture
async def bench():
    async with rpc_bench() as made:
        yield made
