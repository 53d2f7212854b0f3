"""The gRPC interface keeps its promises, and the committed code is what the protos say."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from starlette.requests import Request

from service.domain.identity import new_request_id
from service.domain.request import OutputFormat
from service.errors import InvalidRequest, ServiceError
from service.provenance.report import Confidence, CredentialState, Verdict
from service.reference import error_classes
from service.rest.request_identity import offered_request_id as offered_over_http
from service.rpc import generate
from service.rpc.error_status import error_status
from service.rpc.generated.mintmark.v1 import image_generation_pb2 as pb
from service.rpc.request_identity import offered_request_id as offered_over_grpc
from service.rpc.server import SERVICE_NAME


@pytest.fixture(scope="module")
def released():
    return json.loads(generate.RELEASED_API.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def current():
    return generate.current_api()


def test_the_committed_code_is_what_the_protos_give(tmp_path):
    generate.generate(tmp_path)

    def contents(folder: Path) -> dict[str, bytes]:
        files = (path for path in folder.rglob("*.py*") if path.suffix in {".py", ".pyi"})
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    assert contents(tmp_path) == contents(generate.GENERATED_FOLDER), "run `make proto`"


def test_what_was_released_is_still_there(released, current):
    assert generate.find_broken_promises(released, current) == []


def test_what_is_new_is_written_down_as_released(released, current):
    assert released == current, "run `make proto`"


def removed_field(api):
    del api["messages"]["mintmark.v1.Image"]["1"]


def renumbered_field(api):
    fields = api["messages"]["mintmark.v1.Image"]
    fields["99"] = fields.pop("1")


def renamed_field(api):
    api["messages"]["mintmark.v1.Image"]["1"]["name"] = "data"


def retyped_field(api):
    api["messages"]["mintmark.v1.Image"]["1"]["type"] = "string"


def field_without_presence(api):
    api["messages"]["mintmark.v1.GenerateRequest"]["6"]["presence"] = "single"


def field_out_of_its_oneof(api):
    del api["messages"]["mintmark.v1.GenerateResponse"]["1"]["oneof"]


def removed_message(api):
    del api["messages"]["mintmark.v1.Usage"]


def removed_enum_value(api):
    del api["enums"]["mintmark.v1.OutputFormat"]["3"]


def renamed_enum_value(api):
    api["enums"]["mintmark.v1.OutputFormat"]["3"] = "OUTPUT_FORMAT_AVIF"


def removed_method(api):
    del api["methods"]["mintmark.v1.ImageGeneration/Cancel"]


def method_that_streams_no_more(api):
    api["methods"]["mintmark.v1.ImageGeneration/Generate"]["streams"]["response"] = False


def method_with_another_request(api):
    api["methods"]["mintmark.v1.ImageGeneration/Verify"]["request"] = "mintmark.v1.EditRequest"


@pytest.mark.parametrize(
    "change",
    [
        removed_field,
        renumbered_field,
        renamed_field,
        retyped_field,
        field_without_presence,
        field_out_of_its_oneof,
        removed_message,
        removed_enum_value,
        renamed_enum_value,
        removed_method,
        method_that_streams_no_more,
        method_with_another_request,
    ],
)
def test_a_change_that_breaks_callers_is_found(current, change):
    changed = copy.deepcopy(current)
    change(changed)
    (broken,) = generate.find_broken_promises(current, changed)
    assert broken.startswith(("messages/mintmark", "enums/mintmark", "methods/mintmark"))


def test_what_is_only_added_breaks_nothing(current):
    grown = copy.deepcopy(current)
    grown["messages"]["mintmark.v1.Image"]["13"] = {"name": "new", "type": "string"}
    grown["enums"]["mintmark.v1.OutputFormat"]["4"] = "OUTPUT_FORMAT_AVIF"
    grown["methods"]["mintmark.v1.ImageGeneration/Explain"] = {}
    assert generate.find_broken_promises(current, grown) == []


def test_a_broken_promise_stops_the_generation(monkeypatch, tmp_path, released, capsys):
    promised = copy.deepcopy(released)
    promised["methods"]["mintmark.v1.ImageGeneration/Gone"] = {}
    path = tmp_path / "released.json"
    path.write_text(json.dumps(promised))
    monkeypatch.setattr(generate, "RELEASED_API", path)
    monkeypatch.setattr(generate, "GENERATED_FOLDER", tmp_path / "generated")
    assert generate.main([]) == 1
    assert "ImageGeneration/Gone" in capsys.readouterr().err
    assert not (tmp_path / "generated").exists()
    assert json.loads(path.read_text()) == promised


def test_every_message_enum_and_field_is_explained_or_named_for_itself(current):
    """Style that a linter would check: prefixes, zero values, and a request for each method."""
    for name, values in current["enums"].items():
        prefix = "".join(f"_{c}" if c.isupper() else c for c in name.rpartition(".")[2])
        prefix = prefix.lstrip("_").upper()
        assert values["0"] == f"{prefix}_UNSPECIFIED"
        assert all(value.startswith(f"{prefix}_") for value in values.values())
    for name, method in current["methods"].items():
        verb = name.rpartition("/")[2]
        assert method["request"] == f"mintmark.v1.{verb}Request"
        assert method["response"] == f"mintmark.v1.{verb}Response"


def test_edits_take_everything_that_generations_take(current):
    edit, generation = (
        current["messages"][f"mintmark.v1.{verb}Request"] for verb in ("Edit", "Generate")
    )
    assert {number: edit[number] for number in generation} == generation
    assert (
        current["messages"]["mintmark.v1.EditResponse"]
        == current["messages"]["mintmark.v1.GenerateResponse"]
    )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Verdict, pb.Verdict),
        (Confidence, pb.Confidence),
        (CredentialState, pb.CredentialState),
        (OutputFormat, pb.OutputFormat),
    ],
)
def test_every_value_of_ours_has_one_on_the_wire(ours, theirs):
    prefix = theirs.Name(0).removesuffix("UNSPECIFIED")
    assert {f"{prefix}{value.value.upper()}" for value in ours} == set(theirs.keys()) - {
        f"{prefix}UNSPECIFIED"
    }


@pytest.mark.parametrize("error", error_classes(), ids=lambda error: error.__name__)
def test_every_error_has_its_status_and_hides_what_http_hides(error: type[ServiceError]):
    request_id = new_request_id()
    status = error_status(error("a secret path", param="n"), request_id)
    assert grpc.StatusCode[error.grpc_status].value[0] == status.code
    is_hidden = error.http_status == 500
    assert ("a secret path" in str(status)) != is_hidden
    assert (request_id in status.message) == is_hidden
    assert any("RetryInfo" in detail.type_url for detail in status.details) == error.retryable


def test_a_long_message_fits_into_headers():
    status = error_status(InvalidRequest("ü" * 100_000, param="size"), new_request_id())
    assert len(status.SerializeToString()) < 6000


@pytest.mark.parametrize(
    "values", [[], ["a"], ["x" * 64], ["x" * 65], [""], ["a b"], ["ä"], ["a", "b"], ["a\n"]]
)
def test_both_transports_take_the_same_request_ids(values):
    class Metadata:
        def invocation_metadata(self):
            return [("x-request-id", value) for value in values]

    headers = [(b"x-request-id", value.encode("latin-1")) for value in values]
    scope = Request({"type": "http", "headers": headers}).scope

    def outcome(offered, source):
        try:
            return offered(source)
        except InvalidRequest as error:
            return error.param

    assert outcome(offered_over_grpc, Metadata()) == outcome(offered_over_http, scope)


def test_the_service_keeps_its_name():
    assert SERVICE_NAME == "mintmark.v1.ImageGeneration"


def test_the_client_needs_nothing_of_the_server():
    forbidden = {"models", "numpy", "pydantic", "starlette", "torch", "service.domain"}
    script = f"import sys, service.client; print(*({forbidden!r} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_what_is_new_is_generated_and_added_to_what_was_released(monkeypatch, tmp_path, current):
    monkeypatch.setattr(generate, "RELEASED_API", tmp_path / "released.json")
    monkeypatch.setattr(generate, "GENERATED_FOLDER", tmp_path / "generated")
    (tmp_path / "generated").mkdir()
    assert generate.main([]) == 0
    assert json.loads((tmp_path / "released.json").read_text()) == current
    assert (tmp_path / "generated" / "mintmark" / "v1" / "image_generation_pb2.pyi").is_file()
    assert generate.main(["surplus"]) == 2
