"""Writes down, in C2PA's terms, how a picture came to be (stop 9)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.provenance.encode import COMPOSITE_SOURCE_TYPE, CREATED_SOURCE_TYPE

if TYPE_CHECKING:
    from service.domain.request import Original, OutputFormat
    from service.provenance.interface import GenerationFacts

GENERATION_ASSERTION = "org.mintmark.generation"

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
    """Return the manifest definition of a picture for c2pa's Builder, without its ingredients.

    Every assertion is marked "created": without it the library files an assertion under gathered,
    that is, as not vouched for by the signer. `allActionsIncluded`: nothing else was done to the
    picture. The watermark is "unbound" because its algorithm is not on C2PA's list of soft
    bindings. Neither prompt nor caller appears.

    An altered picture also needs the `ingredients` of its facts, which its actions refer to.
    """
    agent = {"name": system.system, "version": system.version}
    return {
        "title": f"{facts.output_id}.{fmt.value}",
        "claim_generator_info": [{**agent, "specVersion": _SPEC_VERSION}],
        "assertions": [
            {
                "label": "c2pa.actions.v2",
                "created": True,
                "data": {"allActionsIncluded": True, "actions": _actions(facts, agent)},
            },
            {
                "label": GENERATION_ASSERTION,
                "created": True,
                "data": _generation(facts, system),
            },
        ],
    }


def ingredients(facts: GenerationFacts) -> list[tuple[dict[str, Any], Original]]:
    """Return the ingredient definitions for c2pa's Builder, each with the file it describes.

    The edited picture is the parent, whatever else went in a component. Their file names are the
    callers' own and are not repeated.
    """
    return [
        (
            {
                "title": "input",
                "relationship": "componentOf" if index else "parentOf",
                "label": _ingredient_label(index),
            },
            original,
        )
        for index, original in enumerate(facts.originals)
    ]


def described_ingredient(definition: dict[str, Any], original: Original) -> dict[str, Any]:
    """Return a definition that stands without its file and its credentials, and says so.

    For a file that the library cannot take as an ingredient.
    """
    explanation = "Its credentials could not be taken over."
    failure = {"code": "general.error", "explanation": explanation}
    return {
        **definition,
        "format": original.mime_type,
        "instance_id": f"xmp.iid:{uuid.uuid4()}",
        "validation_results": {
            "activeManifest": {"success": [], "informational": [], "failure": [failure]}
        },
    }


def _actions(facts: GenerationFacts, agent: dict[str, str]) -> list[dict[str, Any]]:
    if facts.is_altered:
        # C2PA wants no digital source type on opening and placing: the ingredients speak.
        steps: list[dict[str, Any]] = [
            {
                "action": "c2pa.placed" if index else "c2pa.opened",
                "parameters": {"ingredientIds": [_ingredient_label(index)]},
            }
            for index in range(len(facts.originals))
        ]
        edited = {"digitalSourceType": COMPOSITE_SOURCE_TYPE}
        steps.append({"action": "c2pa.edited", **edited})
    else:
        steps = [{"action": "c2pa.created", "digitalSourceType": CREATED_SOURCE_TYPE}]
    steps.append({"action": "c2pa.watermarked.unbound"})
    when = facts.created_at.isoformat()
    return [{**step, "when": when, "softwareAgent": agent} for step in steps]


def _ingredient_label(index: int) -> str:
    return f"input-{index}"


def _generation(facts: GenerationFacts, system: SystemIdentity) -> dict[str, Any]:
    # provider, system, version, time, created or altered and a unique id: what California's
    # SB 942 asks of a latent disclosure.
    generation = {
        "provider": system.provider,
        "system": system.system,
        "system_version": system.version,
        "model": facts.model_id,
        "model_revision": facts.model_revision,
        "created_or_altered": "altered" if facts.is_altered else "created",
        "output_id": facts.output_id,
        "time": facts.created_at.isoformat(),
        "watermark": {
            "algorithm": _WATERMARK_ALGORITHM,
            "profile": facts.watermark_profile,
            # Text, because JSON readers lose the low bits of integers beyond 2**53.
            "id": format_watermark_id(facts.watermark_id),
        },
    }
    return {**generation, "preview": True} if facts.is_preview else generation


def format_watermark_id(watermark_id: int) -> str:
    """Return a watermark id as manifests and reports write it: hexadecimal, 8 digits or more."""
    return f"{watermark_id:08x}"
