"""One promise, five doors: the same request and seed give the same pixels, in any company."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.doors import Doors, Wanted
from tests.e2e.server import run_server

WANTED = (
    Wanted(),
    Wanted("a panda, soft style, on a lavender background", seed=2**53 + 1, steps=5),
)
COMPANY = [Wanted("a blue car", seed=seed, steps=4 + 3 * seed) for seed in range(5)]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with run_server(tmp_path_factory.mktemp("determinism")) as running:
        yield running


async def test_every_door_gives_the_same_pixels_alone_and_in_company(server):
    async with Doors(server) as doors:
        alone = {
            (name, wanted): await draw(wanted)
            for wanted in WANTED
            for name, draw in doors.draw.items()
        }
        company = [
            asyncio.ensure_future(draw(wanted))
            for wanted, draw in zip(COMPANY, doors.draw.values(), strict=True)
        ]
        together = await asyncio.gather(*(doors.draw[name](wanted) for name, wanted in alone))
        others = await asyncio.gather(*company)
    digests = {wanted: {alone[key] for key in alone if key[1] == wanted} for wanted in WANTED}
    assert [len(found) for found in digests.values()] == [1, 1]
    assert dict(zip(alone, together, strict=True)) == alone
    # And it is the request that makes the picture: others gave others.
    assert len({*alone.values(), *others}) == len(WANTED) + len(COMPANY)
