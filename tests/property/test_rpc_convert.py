"""Whatever is asked for arrives as it was meant, and whatever is answered arrives whole."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from service.client.requests import EditOptions, GenerateOptions, edit_request, generate_request
from service.client.results import (
    Accepted,
    Done,
    FinishedImage,
    Preview,
    Progress,
    to_event,
    to_picture,
    to_report,
)
from service.domain import stream
from service.domain.identity import OutputId, RequestId
from service.domain.request import OutputFormat
from service.domain.result import GenerationResult, SignedImage
from service.edit_intake import EditDraft
from service.provenance.manifest import format_watermark_id
from service.provenance.report import (
    Confidence,
    CredentialReport,
    CredentialState,
    GenerationClaim,
    IngredientReport,
    Verdict,
    VerificationReport,
    WatermarkPose,
    WatermarkReport,
)
from service.rpc.convert import event_message, image_message, to_draft
from service.rpc.convert_facts import report_message
from service.rpc.generated.mintmark.v1 import image_generation_pb2 as pb
from tests.factories import make_request

FAST = settings(max_examples=100, deadline=None)

# protobuf strings are UTF-8: no surrogates.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MAYBE_TEXT = st.none() | TEXT
INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
SIZES = st.tuples(INT32, INT32)
FLOATS = st.floats(allow_nan=False)
MOMENTS = st.datetimes(
    datetime(2000, 1, 1),
    datetime(2100, 1, 1),
    timezones=st.just(UTC),
)

OPTIONS = {
    "model": MAYBE_TEXT,
    "negative_prompt": MAYBE_TEXT,
    "n": st.none() | INT32,
    "size_px": st.none() | SIZES,
    "seed": st.none() | INT64,
    "num_inference_steps": st.none() | INT32,
    "guidance_scale": st.none() | FLOATS,
    "scheduler": MAYBE_TEXT,
    "output_format": st.none() | st.sampled_from(["png", "jpeg", "webp"]),
    "output_compression": st.none() | INT32,
    "partial_images": st.none() | INT32,
}


def assert_draft_says(draft, prompt, options) -> None:
    size = options.size_px
    assert draft.prompt == prompt
    assert draft.negative_prompt == options.negative_prompt
    assert draft.num_images == options.n
    assert draft.size == (size and f"{size[0]}x{size[1]}")
    assert draft.seed == options.seed
    assert draft.num_inference_steps == options.num_inference_steps
    assert draft.guidance_scale == options.guidance_scale
    assert draft.scheduler == options.scheduler
    assert draft.output_format == options.output_format
    assert draft.output_compression == options.output_compression
    assert draft.num_previews == options.partial_images


@FAST
@given(TEXT, st.builds(GenerateOptions, **OPTIONS))
def test_a_generation_arrives_as_it_was_asked_for(prompt, options):
    wire = generate_request(prompt, options).SerializeToString()
    request = pb.GenerateRequest.FromString(wire)
    assert_draft_says(to_draft(request), prompt, options)
    assert request.model == (options.model or "")


@FAST
@given(
    TEXT,
    st.binary(max_size=20),
    st.builds(
        EditOptions, **OPTIONS, mask=st.none() | st.binary(max_size=9), strength=st.none() | FLOATS
    ),
)
def test_an_edit_arrives_as_it_was_asked_for(prompt, image, options):
    request = pb.EditRequest.FromString(edit_request(prompt, image, options).SerializeToString())
    draft = EditDraft(images=())
    assert_draft_says(to_draft(request, draft), prompt, options)
    assert to_draft(request, draft).edit is draft
    assert list(request.image) == [image]
    assert (request.mask if request.HasField("mask") else None) == options.mask
    assert (request.strength if request.HasField("strength") else None) == options.strength


IMAGES = st.builds(
    SignedImage,
    output_id=TEXT.map(OutputId),
    content=st.binary(max_size=50),
    format=st.sampled_from(OutputFormat),
    width_px=st.integers(1, 2**31 - 1),
    height_px=st.integers(1, 2**31 - 1),
    seed=st.integers(0, 2**63 - 1),
    pixels_sha256=TEXT,
    content_sha256=TEXT,
    watermark_id=st.integers(0, 2**32 - 1),
    watermark_profile=TEXT,
    manifest_id=TEXT,
    created_at=MOMENTS,
)


@FAST
@given(IMAGES)
def test_a_picture_arrives_whole(image):
    picture = to_picture(pb.Image.FromString(image_message(image).SerializeToString()))
    said = dataclasses.asdict(picture)
    assert said.pop("mime_type") == image.format.mime_type
    assert said.pop("watermark_id") == format_watermark_id(image.watermark_id)
    for name, value in said.items():
        assert value == getattr(image, name), name


COUNTS = st.integers(0, 2**31 - 1)
RESULTS = st.builds(
    GenerationResult,
    request_id=TEXT.map(RequestId),
    request=TEXT.map(lambda model_id: make_request(model_id=model_id)),
    images=st.lists(IMAGES, max_size=2).map(tuple),
    created_at=MOMENTS,
    prompt_tokens=COUNTS,
    warnings=st.lists(TEXT, max_size=2).map(tuple),
)
EVENTS = st.one_of(
    st.builds(
        stream.Accepted, TEXT.map(RequestId), COUNTS, st.integers(0, 9999).map(lambda n: n / 8)
    ),
    st.builds(stream.StepsTaken, COUNTS, COUNTS),
    st.builds(stream.PartialImage, COUNTS, COUNTS, IMAGES),
    st.builds(stream.FinishedImage, COUNTS, IMAGES),
    st.builds(stream.Completed, RESULTS),
)


@FAST
@given(EVENTS, st.sampled_from([pb.GenerateResponse, pb.EditResponse]))
def test_an_event_arrives_whole(event, message_type):
    message = message_type.FromString(event_message(event, message_type).SerializeToString())
    arrived = to_event(message)
    match event:
        case stream.Accepted():
            assert arrived == Accepted(
                event.request_id, event.queue_position, event.estimated_wait_s
            )
        case stream.StepsTaken():
            assert arrived == Progress(event.steps_done, event.steps_total)
        case stream.PartialImage():
            picture = to_picture(image_message(event.image))
            assert arrived == Preview(event.image_index, event.partial_index, picture)
        case stream.FinishedImage():
            assert arrived == FinishedImage(
                event.image_index, to_picture(image_message(event.image))
            )
        case stream.Completed():
            result = event.result
            assert arrived == Done(
                result.request_id,
                result.request.model_id,
                result.created_at,
                result.prompt_tokens,
                result.warnings,
            )
            assert message.done.usage.images == len(result.images)


TEXTS = st.lists(TEXT, max_size=3).map(tuple)
REPORTS = st.builds(
    VerificationReport,
    verdict=st.sampled_from(Verdict),
    confidence=st.sampled_from(Confidence),
    c2pa=st.builds(
        CredentialReport,
        state=st.sampled_from(CredentialState),
        present=st.booleans(),
        issuer=MAYBE_TEXT,
        time=MAYBE_TEXT,
        has_trusted_time=st.booleans(),
        failures=TEXTS,
        digital_source_type=MAYBE_TEXT,
        actions=TEXTS,
        ingredients=st.lists(
            st.builds(
                IngredientReport,
                relationship=MAYBE_TEXT,
                state=st.sampled_from(CredentialState),
                failures=TEXTS,
                manifest_id=MAYBE_TEXT,
            ),
            max_size=2,
        ).map(tuple),
        manifest_id=MAYBE_TEXT,
        output_id=MAYBE_TEXT,
        generation=st.none() | st.builds(GenerationClaim, provider=MAYBE_TEXT, time=MAYBE_TEXT),
    ),
    watermark=st.builds(
        WatermarkReport,
        present=st.booleans(),
        check=TEXT,
        profile=MAYBE_TEXT,
        id=MAYBE_TEXT,
        is_weak=st.none() | st.booleans(),
        pose=st.none() | st.builds(WatermarkPose, INT32, st.booleans(), FLOATS),
        score=st.none() | FLOATS,
        false_positive_rate=st.none() | FLOATS,
        registered=st.none() | st.booleans(),
        output_id=MAYBE_TEXT,
    ),
    notes=TEXTS,
)


def assert_message_says(message, report) -> None:
    """Compare by name, all the way down: a field of the report that is lost is an error."""
    for field in dataclasses.fields(report):
        value, name = getattr(report, field.name), field.name
        if value is None:
            assert not message.HasField(name), name
        elif dataclasses.is_dataclass(value):
            assert_message_says(getattr(message, name), value)
        elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            for part, wanted in zip(getattr(message, name), value, strict=True):
                assert_message_says(part, wanted)
        elif isinstance(value, tuple):
            assert tuple(getattr(message, name)) == value, name
        elif isinstance(value, Verdict | Confidence | CredentialState):
            enum = message.DESCRIPTOR.fields_by_name[name].enum_type
            number = getattr(message, name)
            assert enum.values_by_number[number].name.endswith(f"_{value.value.upper()}")
        else:
            assert getattr(message, name) == value, name


@FAST
@given(REPORTS)
def test_a_report_arrives_whole(report):
    message = pb.VerifyResponse.FromString(report_message(report).SerializeToString())
    assert_message_says(message, report)
    arrived = to_report(message)
    assert (arrived.verdict, arrived.confidence) == (report.verdict, report.confidence)
    assert arrived.notes == report.notes
