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
from service.provenance.credentials import UNREADABLE, CredentialReader, c2pa_settings
from service.provenance.encode import encode_pixels
from service.provenance.interface import GenerationFacts, SignedContent
from service.provenance.manifest import (
    described_ingredient,
    generation_manifest,
    ingredients,
)
from service.provenance.report import CredentialReport, CredentialState

if TYPE_CHECKING:
    from service.domain.request import Original
    from service.provenance.keys import SigningMaterial
    from service.provenance.manifest import SystemIdentity

_SELF_TEST_SIDE_PX = 16
# An edit of an edit adds 7 KB. What strangers put into their credentials has no limit, and would
# be in every picture of the request.
_MAX_CREDENTIALS_BYTES = 2 * 1024 * 1024
_FORMATS = {fmt.mime_type: fmt for fmt in OutputFormat}

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

        What the originals carry is kept with them, judged as it is: a broken credential of theirs
        is recorded as broken and hinders nothing.
        Raises SigningFailed unless they read Trusted, without failures, and are these `facts`'.
        """
        failed: C2paError | None = None
        for kept in self._keepable(facts):
            try:
                signed = self._build(content, fmt, facts, kept)
            except C2paError as error:
                failed = error
                continue
            if not kept or len(signed) - len(content) <= _MAX_CREDENTIALS_BYTES:
                return SignedContent(signed, self._read_back(signed, fmt, facts))
        logger.error("signing failed", exc_info=failed, extra={"output_id": facts.output_id})
        raise SigningFailed("The picture could not be signed.") from failed

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

    def _build(
        self, content: bytes, fmt: OutputFormat, facts: GenerationFacts, kept: frozenset[int]
    ) -> bytes:
        """Return the signed picture; originals outside `kept` are described, not taken over."""
        manifest = generation_manifest(facts, fmt, self._system)
        inputs = list(enumerate(ingredients(facts)))
        manifest["ingredients"] = [
            described_ingredient(definition, original)
            for index, (definition, original) in inputs
            if index not in kept
        ]
        target = BytesIO()
        with Builder(json.dumps(manifest), context=self._context) as builder:
            for index, (definition, original) in inputs:
                if index in kept:
                    source = BytesIO(original.content)
                    builder.add_ingredient(json.dumps(definition), original.mime_type, source)
            builder.sign(fmt.mime_type, BytesIO(content), target)
        return target.getvalue()

    def _keepable(self, facts: GenerationFacts) -> list[frozenset[int]]:
        """Return which originals to take over with their credentials, first choice first.

        All that can be read; the library refuses a few of those that it reads as broken, so then
        all that hold; then none.
        """
        found = list(enumerate(self._read_original(original) for original in facts.originals))
        holding = (CredentialState.TRUSTED, CredentialState.VALID)
        choices = (
            frozenset(index for index, report in found if report.failures != (UNREADABLE,)),
            frozenset(index for index, report in found if report.state in holding),
            frozenset[int](),
        )
        return list(dict.fromkeys(choices))

    def _read_original(self, original: Original) -> CredentialReport:
        fmt = _FORMATS.get(original.mime_type)
        if fmt is None:
            return CredentialReport(CredentialState.INVALID, present=False, failures=(UNREADABLE,))
        return self._reader.read(original.content, fmt)

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
