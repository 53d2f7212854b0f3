"""Verification reports and model facts as messages (stop 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from service.rpc.generated.mintmark.v1 import image_generation_pb2 as pb

if TYPE_CHECKING:
    from models.spec import ModelSpec
    from service.intake import LimitsOptions
    from service.provenance.report import (
        CredentialReport,
        CredentialState,
        GenerationClaim,
        VerificationReport,
        WatermarkPose,
        WatermarkReport,
    )


def report_message(report: VerificationReport) -> pb.VerifyResponse:
    """Return what verifying a picture found. Enum values go by the names of the service's own."""
    return pb.VerifyResponse(
        verdict=f"VERDICT_{report.verdict.value.upper()}",
        confidence=f"CONFIDENCE_{report.confidence.value.upper()}",
        c2pa=_credentials(report.c2pa),
        watermark=_watermark(report.watermark),
        notes=report.notes,
    )


def model_message(spec: ModelSpec, limits: LimitsOptions, *, is_default: bool) -> pb.Model:
    """Return what a model is and what a request may ask of it."""
    defaults = spec.defaults
    return pb.Model(
        id=spec.model_id,
        revision=spec.revision,
        family=spec.family,
        prediction_type=spec.prediction_type,
        sizes=[_size(size) for size in spec.sizes_px],
        default_size=_size(spec.default_size_px),
        schedulers=spec.schedulers,
        defaults=pb.SamplingDefaults(
            num_inference_steps=defaults.num_inference_steps,
            guidance_scale=defaults.guidance_scale,
            guidance_rescale=defaults.guidance_rescale,
            scheduler=defaults.scheduler,
        ),
        limits=pb.RequestLimits(
            max_prompt_tokens=spec.max_prompt_tokens,
            max_prompt_chars=limits.max_prompt_chars,
            max_images_per_request=limits.max_images_per_request,
            max_inference_steps=limits.max_inference_steps,
            max_guidance_scale=limits.max_guidance_scale,
            max_upload_bytes=limits.max_upload_bytes,
        ),
        card=ParseDict(spec.card, Struct()),
        is_default=is_default,
    )


def _size(size_px: tuple[int, int]) -> pb.Size:
    return pb.Size(width_px=size_px[0], height_px=size_px[1])


def _state(state: CredentialState) -> str:
    return f"CREDENTIAL_STATE_{state.value.upper()}"


def _credentials(report: CredentialReport) -> pb.Credentials:
    return pb.Credentials(
        state=_state(report.state),
        present=report.present,
        issuer=report.issuer,
        time=report.time,
        has_trusted_time=report.has_trusted_time,
        failures=report.failures,
        digital_source_type=report.digital_source_type,
        actions=report.actions,
        ingredients=[
            pb.Ingredient(
                relationship=ingredient.relationship,
                state=_state(ingredient.state),
                failures=ingredient.failures,
                manifest_id=ingredient.manifest_id,
            )
            for ingredient in report.ingredients
        ],
        manifest_id=report.manifest_id,
        output_id=report.output_id,
        generation=_claim(report.generation),
    )


def _claim(claim: GenerationClaim | None) -> pb.GenerationClaim | None:
    if claim is None:
        return None
    return pb.GenerationClaim(
        provider=claim.provider,
        system=claim.system,
        system_version=claim.system_version,
        model=claim.model,
        model_revision=claim.model_revision,
        created_or_altered=claim.created_or_altered,
        output_id=claim.output_id,
        time=claim.time,
        preview=claim.preview,
    )


def _watermark(report: WatermarkReport) -> pb.Watermark:
    return pb.Watermark(
        present=report.present,
        check=report.check,
        profile=report.profile,
        id=report.id,
        is_weak=report.is_weak,
        pose=_pose(report.pose),
        score=report.score,
        false_positive_rate=report.false_positive_rate,
        registered=report.registered,
        output_id=report.output_id,
    )


def _pose(pose: WatermarkPose | None) -> pb.WatermarkPose | None:
    if pose is None:
        return None
    return pb.WatermarkPose(
        rotation_degrees=pose.rotation_degrees, is_mirrored=pose.is_mirrored, scale=pose.scale
    )
