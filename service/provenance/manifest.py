"""Writes down, in C2PA's terms, how a picture came to be (stop 9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.domain.request import OutputFormat
    from service.provenance.interface import GenerationFacts

GENERATION_ASSERTION = "org.mintmark.generation"
TRAINED_ALGORITHMIC_MEDIA = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

# The version of the specification that the library's output follows, as conformance wants it said.
_SPEC_VERSION = "2.4.0"
_WATERMARK_ALGORITHM = "org.mintmark.spread-spectrum"


@dataclass(frozen=True, slots=True)
class SystemIdentity:
    """Who made the picture. `provider` runs the service, `system` and `version` name it."""

    provider: str
    system: str
    version: str


def generation_manifest(
    facts: GenerationFacts, fmt: OutputFormat, system: SystemIdentity
) -> dict[str, Any]:
    """Return the manifest definition of a picture created from text, for c2pa's Builder.

    Every assertion is marked "created": without it the library files an assertion under gathered,
    that is, as not vouched for by the signer. `allActionsIncluded`: nothing else was done to the
    picture. The watermark is "unbound" because its algorithm is not on C2PA's list of soft
    bindings. Neither prompt nor caller appears.

    Raises ValueError for an altered picture: C2PA wants its parent as an ingredient, and a text
    to image service has none.
    """
    if facts.is_altered:
        raise ValueError("an altered picture needs its parent as an ingredient")
    agent = {"name": system.system, "version": system.version}
    when = facts.created_at.isoformat()
    return {
        "title": f"{facts.output_id}.{fmt.value}",
        "claim_generator_info": [{**agent, "specVersion": _SPEC_VERSION}],
        "assertions": [
            {
                "label": "c2pa.actions.v2",
                "created": True,
                "data": {
                    "allActionsIncluded": True,
                    "actions": [
                        {
                            "action": "c2pa.created",
                            "when": when,
                            "digitalSourceType": TRAINED_ALGORITHMIC_MEDIA,
                            "softwareAgent": agent,
                        },
                        {
                            "action": "c2pa.watermarked.unbound",
                            "when": when,
                            "softwareAgent": agent,
                        },
                    ],
                },
            },
            {
                "label": GENERATION_ASSERTION,
                "created": True,
                "data": _generation(facts, system),
            },
        ],
    }


def _generation(facts: GenerationFacts, system: SystemIdentity) -> dict[str, Any]:
    # provider, system, version, time, created or altered and a unique id: what California's
    # SB 942 asks of a latent disclosure.
    return {
        "provider": system.provider,
        "system": system.system,
        "system_version": system.version,
        "model": facts.model_id,
        "model_revision": facts.model_revision,
        "created_or_altered": "created",
        "output_id": facts.output_id,
        "time": facts.created_at.isoformat(),
        "watermark": {
            "algorithm": _WATERMARK_ALGORITHM,
            "profile": facts.watermark_profile,
            # Text, because JSON readers lose the low bits of integers beyond 2**53.
            "id": format_watermark_id(facts.watermark_id),
        },
    }


def format_watermark_id(watermark_id: int) -> str:
    """Return a watermark id as manifests and reports write it: hexadecimal, 8 digits or more."""
    return f"{watermark_id:08x}"
