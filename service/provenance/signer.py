"""Signs finished pictures with C2PA credentials and reads every one back (stop 9)."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from c2pa import Builder, C2paError, C2paSignerInfo, Context
from c2pa import Signer as LibrarySigner

from service.domain.identity import new_output_id
from service.domain.request import OutputFormat, OutputOptions
from service.errors import ConfigurationError, SigningFailed
from service.provenance.credentials import CredentialReader, c2pa_settings
from service.provenance.encode import encode_pixels
from service.provenance.interface import GenerationFacts, SignedContent
from service.provenance.manifest import generation_manifest
from service.provenance.report import CredentialState

if TYPE_CHECKING:
    from service.provenance.keys import SigningMaterial
    from service.provenance.manifest import SystemIdentity

_SELF_TEST_SIDE_PX = 16

logger = logging.getLogger(__name__)


class C2paSigner:
    """Signs with a key held in this process. Thread-safe; implements `interface.Signer`.

    Must be made in the process that signs: the library's contexts do not survive a fork.
    """

    def __init__(self, material: SigningMaterial, system: SystemIdentity) -> None:
        self._system = system
        self._reader = CredentialReader(material.anchors_pem)
        try:
            # No time-stamp authority: its answer would be a network call in the serving path.
            signer = LibrarySigner.from_info(
                C2paSignerInfo(
                    material.algorithm.encode(), material.chain_pem, material.key_pem, None
                )
            )
            self._context = Context.from_dict(c2pa_settings(material.anchors_pem), signer=signer)
        except C2paError as error:
            self._reader.close()
            raise ConfigurationError(f"The signing key cannot be used: {error}.") from error

    def sign(self, content: bytes, fmt: OutputFormat, facts: GenerationFacts) -> SignedContent:
        """Return `content` with credentials, read back from the very bytes that are returned.

        Raises SigningFailed unless they read Trusted, without failures, and are these `facts`'.
        Raises ValueError for an altered picture (see `generation_manifest`).
        """
        manifest = generation_manifest(facts, fmt, self._system)
        target = BytesIO()
        try:
            with Builder(json.dumps(manifest), context=self._context) as builder:
                builder.sign(fmt.mime_type, BytesIO(content), target)
        except C2paError as error:
            logger.exception("signing failed", extra={"output_id": facts.output_id})
            raise SigningFailed("The picture could not be signed.") from error
        signed = target.getvalue()
        return SignedContent(signed, self._read_back(signed, fmt, facts))

    def self_test(self) -> None:
        """Sign a tiny picture in every format. Raises ConfigurationError if one is not Trusted.

        Finds at the start what would otherwise fail each request: above all certificates that
        the library refuses, or that it accepts and then does not believe.
        """
        pixels = np.full((_SELF_TEST_SIDE_PX, _SELF_TEST_SIDE_PX, 3), 127, np.uint8)
        for fmt in OutputFormat:
            facts = GenerationFacts(
                output_id=new_output_id(),
                model_id="self-test",
                model_revision="self-test",
                created_at=datetime.now(UTC),
                watermark_id=0,
                watermark_profile="none",
            )
            try:
                self.sign(encode_pixels(pixels, OutputOptions(fmt)), fmt, facts)
            except SigningFailed as error:
                reason = error.__cause__ or error
                raise ConfigurationError(
                    f"A test picture ({fmt.value}) signed with the configured certificate does "
                    f"not verify: {reason}"
                ) from error

    def close(self) -> None:
        """Free the library's contexts. No signing may be under way."""
        self._context.close()
        self._reader.close()

    def _read_back(self, signed: bytes, fmt: OutputFormat, facts: GenerationFacts) -> str:
        found = self._reader.read(signed, fmt)
        is_intact = found.state is CredentialState.TRUSTED and not found.failures
        if not is_intact or found.output_id != facts.output_id or found.manifest_id is None:
            logger.error(
                "a signed picture did not read back: state %s, failures %s",
                found.state,
                found.failures,
                extra={"output_id": facts.output_id},
            )
            raise SigningFailed("The signature did not verify.")
        return found.manifest_id
