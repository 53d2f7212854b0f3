"""One set of keys, one ledger and one finished picture per test module."""

from __future__ import annotations

from contextlib import closing

import pytest

from service.provenance.pipeline import MarkingPipeline
from service.provenance.signer import C2paSigner
from tests.fakes import FakeWatermarker
from tests.provenance_kit import (
    SYSTEM,
    make_image,
    make_material,
    make_request,
    make_verifier,
    open_ledger,
)


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    return make_material(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    with closing(open_ledger(tmp_path_factory.mktemp("state"))) as ledger:
        yield ledger


@pytest.fixture(scope="module")
def pipeline(material, ledger):
    with closing(C2paSigner(material, SYSTEM)) as signer:
        yield MarkingPipeline(FakeWatermarker(), signer, ledger)


@pytest.fixture(scope="module")
def verifier(material, ledger):
    with closing(make_verifier(material, ledger)) as verifier:
        yield verifier


@pytest.fixture(scope="module")
def signed(pipeline):
    return pipeline.mark(make_image(), make_request())
