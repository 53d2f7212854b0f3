"""What the provenance tests are made of: keys, pictures, ledgers and whole pipelines."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from c2pa import Builder, C2paSignerInfo, Context
from c2pa import Signer as LibrarySigner
from PIL import Image

from service.database.options import LedgerOptions
from service.domain.identity import OutputId, RequestId
from service.domain.request import OutputFormat, OutputOptions
from service.domain.result import DecodedImage
from service.provenance.credentials import c2pa_settings
from service.provenance.decode import DecodeLimits
from service.provenance.development_ca import IssuedChain, issue_chain
from service.provenance.interface import GenerationFacts
from service.provenance.keys import SigningMaterial, load_signing_material
from service.provenance.ledger import Ledger, OutputRecord
from service.provenance.manifest import SystemIdentity
from service.provenance.options import ProvenanceOptions
from service.provenance.pipeline import MarkingRequest
from service.provenance.verify import VerificationTrust, Verifier
from tests.fakes import FakeWatermarker, flat_pixels

SYSTEM = SystemIdentity(provider="Test provider", system="Mintmark", version="1.2.3")
LIMITS = DecodeLimits(max_bytes=4 * 1024 * 1024, max_pixels=1024 * 1024)


def write_chain(directory: Path, issued: IssuedChain) -> ProvenanceOptions:
    """Mount a chain the way an operator does; return the options that name it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "chain.pem").write_bytes(issued.chain_pem)
    (directory / "key.pem").write_bytes(issued.key_pem)
    (directory / "anchors.pem").write_bytes(issued.root_pem)
    return ProvenanceOptions(
        certificate_chain_path=directory / "chain.pem",
        private_key_path=directory / "key.pem",
        trust_anchors_path=directory / "anchors.pem",
    )


def make_material(directory: Path, organisation: str = "Test organisation") -> SigningMaterial:
    options = write_chain(directory, issue_chain(organisation, datetime.now(UTC)))
    return load_signing_material(options, directory)


def make_facts(**overrides) -> GenerationFacts:
    facts = GenerationFacts(
        output_id=OutputId("out_1"),
        model_id="test-model",
        model_revision="abc123",
        created_at=datetime(2026, 11, 24, 8, 0, tzinfo=UTC),
        watermark_id=0xBEEF,
        watermark_profile="sst64",
    )
    return replace(facts, **overrides)


def make_record(**overrides) -> OutputRecord:
    record = OutputRecord(
        output_id=OutputId("out_1"),
        request_id=RequestId("req_1"),
        watermark_id=0xBEEF,
        watermark_profile="sst64",
        manifest_id="urn:c2pa:1",
        content_sha256="c" * 64,
        pixels_sha256="d" * 64,
        mime_type="image/png",
        width_px=96,
        height_px=64,
        size_bytes=1234,
        model_id="test-model",
        model_revision="abc123",
        kind="created",
        seed=2**63 - 1,
        created_at=datetime(2026, 11, 24, 8, 0, 0, 123456, tzinfo=UTC),
    )
    return replace(record, **overrides)


def make_image(pixels=None, seed: int = 7) -> DecodedImage:
    pixels = flat_pixels() if pixels is None else pixels
    return DecodedImage(pixels, hashlib.sha256(pixels.tobytes()).hexdigest(), seed)


def make_request(fmt: OutputFormat = OutputFormat.PNG, compression: int = 100) -> MarkingRequest:
    return MarkingRequest(
        request_id=RequestId("req_1"),
        model_id="test-model",
        model_revision="abc123",
        output=OutputOptions(fmt, compression),
    )


def open_ledger(state_dir: Path) -> Ledger:
    return Ledger.open(LedgerOptions(), state_dir)


def make_verifier(
    material: SigningMaterial, ledger: Ledger | None = None, watermarker=None
) -> Verifier:
    return Verifier(
        VerificationTrust.of(material), watermarker or FakeWatermarker(), ledger, LIMITS
    )


def picture_bytes(fmt: OutputFormat, pixels=None) -> bytes:
    """Return an unmarked picture without any metadata."""
    buffer = BytesIO()
    Image.fromarray(flat_pixels() if pixels is None else pixels).save(buffer, fmt.value.upper())
    return buffer.getvalue()


def actions(*items: dict[str, Any]) -> dict[str, Any]:
    """Return an actions assertion for `library_signed`."""
    return {"label": "c2pa.actions.v2", "created": True, "data": {"actions": list(items)}}


def library_signed(
    material: SigningMaterial,
    assertions: list[dict[str, Any]],
    *,
    content: bytes | None = None,
    parent: bytes | None = None,
    remote_url: str | None = None,
) -> bytes:
    """Return a PNG signed by other software than ours, with the C2PA library alone.

    `parent`: the picture that it was made from. `remote_url`: leave the manifest out and name
    this address for it instead.
    """
    info = C2paSignerInfo(b"es256", material.chain_pem, material.key_pem, None)
    settings = c2pa_settings(material.anchors_pem)
    settings["verify"]["verify_after_sign"] = False
    manifest = {
        "claim_generator_info": [{"name": "Other software", "version": "1"}],
        "assertions": assertions,
    }
    target = BytesIO()
    with (
        Context.from_dict(settings, signer=LibrarySigner.from_info(info)) as context,
        Builder(json.dumps(manifest), context=context) as builder,
    ):
        if parent is not None:
            ingredient = {"title": "input", "relationship": "parentOf", "label": "parent"}
            builder.add_ingredient(json.dumps(ingredient), "image/png", BytesIO(parent))
        if remote_url is not None:
            builder.set_no_embed()
            builder.set_remote_url(remote_url)
        builder.sign("image/png", BytesIO(content or picture_bytes(OutputFormat.PNG)), target)
    return target.getvalue()


def without_metadata(content: bytes) -> bytes:
    """Return the same pixels saved anew as PNG, as a site does that strips credentials."""
    with Image.open(BytesIO(content)) as image:
        return picture_bytes(OutputFormat.PNG, np.asarray(image.convert("RGB")))
