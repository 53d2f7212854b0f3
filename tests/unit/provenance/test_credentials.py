"""Credentials are read against anchors that are what they claim to be."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime

import pytest

from service.domain.request import OutputFormat
from service.errors import ConfigurationError
from service.provenance.credentials import CredentialReader
from service.provenance.development_ca import issue_chain
from service.provenance.report import CredentialReport, CredentialState
from tests.provenance_kit import picture_bytes

ANCHORS = issue_chain("Acme", datetime.now(UTC)).root_pem.decode()


@pytest.mark.parametrize(
    "anchors",
    ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
)
def test_anchors_that_are_no_certificates_are_refused(anchors):
    with pytest.raises(ConfigurationError, match="trust anchors cannot be used"):
        CredentialReader(anchors)


@pytest.mark.parametrize("fmt", list(OutputFormat))
@pytest.mark.parametrize("cut", [None, 60, 12, 0])
def test_a_file_without_credentials_has_none_however_damaged(fmt, cut):
    with closing(CredentialReader(ANCHORS)) as reader:
        report = reader.read(picture_bytes(fmt)[:cut], fmt)
    assert report == CredentialReport(CredentialState.ABSENT, present=False)
