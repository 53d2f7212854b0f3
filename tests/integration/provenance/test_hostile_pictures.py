"""Files made to mislead, to exhaust or to call out: a report or a typed error, nothing else."""

from __future__ import annotations

import socket
from contextlib import closing

import numpy as np
import pytest

from service.domain.request import OutputFormat
from service.errors import InvalidRequest, PayloadTooLarge
from tests.provenance_kit import (
    actions,
    library_signed,
    make_verifier,
    picture_bytes,
)

CAPTURE = {
    "action": "c2pa.created",
    "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture",
}


@pytest.mark.parametrize("content", [b"", b"garbage" * 99, b"\x89PNG\r\n\x1a\n" + b"\0" * 99])
def test_what_is_no_picture_is_an_invalid_request(verifier, content):
    with pytest.raises(InvalidRequest):
        verifier.verify(content)


def test_pictures_over_the_limits_are_refused(verifier):
    wide = picture_bytes(OutputFormat.PNG, np.zeros((1100, 1100, 3), np.uint8))
    with pytest.raises(PayloadTooLarge):
        verifier.verify(wide)
    with pytest.raises(PayloadTooLarge):
        verifier.verify(b"x" * (4 * 1024 * 1024 + 1))


def test_a_truncated_picture_without_credentials_is_an_invalid_request(verifier):
    content = picture_bytes(OutputFormat.JPEG)
    with pytest.raises(InvalidRequest):
        verifier.verify(content[:-200])


def test_a_truncated_picture_with_credentials_has_invalid_ones(verifier, signed):
    report = verifier.verify(signed.content[:-100])
    assert report.verdict == "invalid_credentials"
    assert report.c2pa.failures == ("unreadable",)
    assert report.watermark.check == "not_read"


def test_damaged_credentials_are_reported_not_raised(verifier, signed):
    content = signed.content
    start = content.index(b"caBX")
    seen = set()
    for offset in range(start + 8, start + 3600, 97):
        damaged = bytearray(content)
        damaged[offset] ^= 0xFF
        seen.add(verifier.verify(bytes(damaged)).verdict)
    assert "invalid_credentials" in seen
    assert "ai_generated_other" not in seen


def test_verifying_opens_no_connection(material, tmp_path, monkeypatch):
    # A manifest kept elsewhere names a host: whoever verifies must not be made to call there.
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(0.2)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/manifest.c2pa"
        content = library_signed(material, [actions(CAPTURE)], remote_url=url)
        assert url.encode() in content
        with closing(make_verifier(material)) as verifier:
            report = verifier.verify(content)
        assert report.verdict == "no_evidence"
        with pytest.raises(TimeoutError):
            server.accept()


def test_deeply_nested_assertions_are_reported_not_raised(material, verifier):
    nested: object = "bottom"
    for _ in range(100):
        nested = [nested]
    odd = {"label": "org.mintmark.generation", "created": True, "data": {"output_id": nested}}
    report = verifier.verify(library_signed(material, [actions(CAPTURE), odd]))
    assert report.c2pa.output_id is None


def test_what_is_repeated_from_a_manifest_is_bounded(material, verifier):
    edits = [{"action": f"org.example.{'x' * 5000}{index}"} for index in range(200)]
    report = verifier.verify(library_signed(material, [actions(CAPTURE, *edits)]))
    assert report.c2pa.actions[0] == "c2pa.created"
    assert len(report.c2pa.actions) <= 64
    assert max(len(action) for action in report.c2pa.actions) <= 300
