"""The protocol's messages are those of other implementations, and the committed code is current."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from service.oip import generate
from service.oip.generated import open_inference_grpc_pb2 as pb

# In a process of its own: the names are the same, and a process has each only once.
THEIRS = """
import base64, sys
from tritonclient.grpc import service_pb2
sys.stdout.write(base64.b64encode(service_pb2.DESCRIPTOR.serialized_pb).decode())
"""
# Numbered differently by KServe and Triton; ours read neither (see the proto).
REPOSITORY = "Repository"


@pytest.fixture(scope="module")
def theirs():
    command = [sys.executable, "-c", THEIRS]
    printed = subprocess.run(command, check=True, capture_output=True).stdout
    return descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(printed))


@pytest.fixture(scope="module")
def ours():
    return descriptor_pb2.FileDescriptorProto.FromString(pb.DESCRIPTOR.serialized_pb)


def fields(messages, prefix=""):
    """Return (message, field, number, type, repeated or not) of messages and those in them."""
    found = set()
    for message in messages:
        name = f"{prefix}{message.name}"
        for field in message.field:
            kind = field.type_name or str(field.type)
            found.add((name, field.name, field.number, kind, field.label))
        found |= fields(message.nested_type, f"{name}.")
    return found


def methods(file):
    return {
        (service.name, method.name, method.input_type, method.output_type, method.server_streaming)
        for service in file.service
        for method in service.method
    }


def test_the_committed_code_is_what_the_proto_gives(tmp_path):
    generate.generate(tmp_path)

    def contents(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.glob("*.py*")}

    assert contents(tmp_path) == contents(generate.GENERATED_FOLDER), "run `make proto`"


def test_every_message_is_tritons_as_well(ours, theirs):
    assert ours.package == theirs.package == "inference"
    shared = {field for field in fields(ours.message_type) if not field[0].startswith(REPOSITORY)}
    only_ours = shared - fields(theirs.message_type)
    # The specification has it, Triton does not.
    assert {field[:2] for field in only_ours if ".PropertiesEntry" not in field[0]} == {
        ("ModelMetadataResponse", "properties")
    }
    assert len(shared) > 60


def test_every_method_is_tritons_as_well(ours, theirs):
    assert methods(ours) <= methods(theirs)
    assert len(methods(ours)) == 9
