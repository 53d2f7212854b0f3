"""`mintmark generate` and `mintmark verify` against a real socket and real marks."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from contextlib import contextmanager

import pytest
import uvicorn
from click.testing import CliRunner

from service.cli.main import cli
from service.config import Settings
from service.domain.request import OutputFormat
from service.domain.stream import FinishedImage
from service.errors import DeviceOutOfMemory, InvalidRequest, QueueFull
from service.provenance.keys import load_signing_material
from service.provenance.options import ProvenanceOptions
from service.provenance.pipeline import MarkingPipeline
from service.provenance.signer import C2paSigner
from service.provenance.watermark import SpreadSpectrumWatermarker
from tests.access_kit import APP_KEY, keyed_access
from tests.fakes import FakeGeneration
from tests.provenance_kit import SYSTEM, make_image, make_request, open_ledger, picture_bytes
from tests.rest_kit import rest_bench


@contextmanager
def on_a_port(bench):
    """Serve a bench on a real port, as it is now; yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(bench.app(), log_config=None, lifespan="off", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def served():
    """A bench whose app answers on a real port, as `bench.url`."""
    with rest_bench() as bench, on_a_port(bench) as bench.url:
        yield bench


@pytest.fixture
def state_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("MINTMARK_SERVER__STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def marked(state_dir, tmp_path):
    """Return the path of a picture made and recorded by the service of this machine."""
    material = load_signing_material(ProvenanceOptions(), state_dir)
    signer = C2paSigner(material, SYSTEM)
    ledger = open_ledger(state_dir)
    pipeline = MarkingPipeline(SpreadSpectrumWatermarker(), signer, ledger, lambda *_: None)
    path = tmp_path / "marked.png"
    path.write_bytes(pipeline.mark(make_image(), make_request()).content)
    signer.close()
    ledger.close()
    return path


def run(*arguments: object):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_a_picture_is_written_and_described(served, tmp_path):
    path = tmp_path / "a.webp"
    result = run("generate", "a red apple", "-o", path, "--url", served.url, "--seed", 5)
    assert result.exit_code == 0, result.output
    assert path.read_bytes() == served.generate.content
    assert "seed 5  output out_0  watermark 000abcde  manifest urn:c2pa:0" in result.output
    (request,) = served.generate.requests
    assert request.output.format is OutputFormat.WEBP  # from the file's name
    assert request.sampling.seed == 5


def test_what_will_not_be_drawn_is_said_beside_the_output(served, tmp_path):
    served.generate.warnings = ("not drawn: 'wolf'; nearest known: 'dog'",)
    result = run("generate", "a wolf", "-o", tmp_path / "a.png", "--url", served.url)
    assert result.exit_code == 0, result.output
    assert result.stderr == "Warning: not drawn: 'wolf'; nearest known: 'dog'\n"
    assert "Warning" not in result.stdout


def test_every_option_reaches_the_service(served, tmp_path):
    options = ["--n", 2, "--size", "96x64", "--steps", 9, "--guidance", 2.5]
    options += ["--scheduler", "euler", "--negative", "blue", "--format", "jpeg", "--model", "toy"]
    result = run("generate", "x", "-o", tmp_path / "a.bin", "--url", served.url, *options)
    assert result.exit_code == 0, result.output
    (request,) = served.generate.requests
    assert (request.width_px, request.height_px, request.num_images) == (96, 64, 2)
    assert request.sampling.num_inference_steps == 9
    assert request.sampling.guidance_scale == 2.5
    assert request.sampling.scheduler == "euler"
    assert request.negative_prompt == "blue"
    assert request.output.format is OutputFormat.JPEG
    assert sorted(path.name for path in tmp_path.glob("a*")) == ["a-1.bin", "a-2.bin"]


def test_nothing_is_overwritten_unless_forced(served, tmp_path):
    path = tmp_path / "a.png"
    path.write_text("mine")
    refused = run("generate", "x", "-o", path, "--url", served.url)
    assert refused.exit_code == 1
    assert "--force" in refused.output
    assert path.read_text() == "mine"
    assert served.generate.requests == []
    assert run("generate", "x", "-o", path, "--url", served.url, "--force").exit_code == 0
    assert path.read_bytes() == served.generate.content


def test_progress_is_asked_for_while_it_runs(served, tmp_path):
    served.generate.hold = asyncio.Event()

    def release() -> None:
        asked = 'mintmark_http_requests_total{method="GET",route="/v1/requests/{request_id}"'
        while asked not in served.metrics.exposition().decode():
            time.sleep(0.01)
        served.generate.hold.set()

    releasing = threading.Thread(target=release)
    releasing.start()
    result = run("generate", "x", "-o", tmp_path / "a.png", "--url", served.url)
    releasing.join()
    assert result.exit_code == 0, result.output


def test_unfinished_states_are_shown_in_the_file_while_it_is_drawn(served, tmp_path):
    path = tmp_path / "a.webp"
    seen = []

    class Watched(FakeGeneration):
        async def stream(self, request, **named):
            async for event in super().stream(request, **named):
                if isinstance(event, FinishedImage):
                    while not path.exists():  # the previews are written by now
                        await asyncio.sleep(0.01)
                    seen.append(path.read_bytes())
                yield event

    served.generate = Watched()
    served.generate.warnings = ("not drawn: 'wolf'",)
    with on_a_port(served) as url:
        result = run("generate", "x", "-o", path, "--url", url, "--stream", "--seed", 5)
    assert result.exit_code == 0, result.output
    assert seen == [served.generate.content]
    assert path.read_bytes() == served.generate.content
    assert [each.name for each in tmp_path.glob("*a.webp*")] == ["a.webp"]
    assert served.generate.requests[0].num_previews == 3
    assert "seed 5  output out_0" in result.stdout
    assert result.stderr == "Warning: not drawn: 'wolf'\n"


def test_a_stream_that_fails_leaves_no_unfinished_picture(served, tmp_path):
    served.generate.late_error = DeviceOutOfMemory("No memory.")
    result = run("generate", "x", "-o", tmp_path / "a.png", "--url", served.url, "--stream")
    assert result.exit_code == 1
    assert result.output == "Error: No memory.\n"
    assert list(tmp_path.glob("*a.png*")) == []


def test_a_stream_that_is_refused_is_one_line(served, tmp_path):
    served.generate.error = QueueFull("Full.", retry_after_s=4)
    result = run("generate", "x", "-o", tmp_path / "a.png", "--url", served.url, "--stream")
    assert result.output == "Error: Full. Try again in 4 s.\n"


def test_a_key_is_sent_along(served, tmp_path, monkeypatch):
    served.access = keyed_access()
    with on_a_port(served) as url:
        refused = run("generate", "x", "-o", tmp_path / "a.png", "--url", url)
        monkeypatch.setenv("MM_API_KEY", APP_KEY)
        taken = run("generate", "x", "-o", tmp_path / "a.png", "--url", url, "--stream")
    assert refused.exit_code == 1
    assert taken.exit_code == 0, taken.output


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InvalidRequest("'size' is not supported.", param="size"), "'size' is not supported."),
        (QueueFull("Full.", retry_after_s=4), "Full. Try again in 4 s."),
    ],
)
def test_a_refusal_is_one_line(served, tmp_path, error, message):
    served.generate.error = error
    result = run("generate", "x", "-o", tmp_path / "a.png", "--url", served.url)
    assert result.exit_code == 1
    assert result.output == f"Error: {message}\n"


def test_a_service_that_is_not_there_is_named_with_what_to_do(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    result = run("generate", "x", "-o", tmp_path / "a.png", "--url", f"http://127.0.0.1:{port}")
    assert result.exit_code == 1
    assert f"Nothing answers at http://127.0.0.1:{port}" in result.output
    assert "make serve" in result.output


def test_our_own_picture_is_proved_offline(marked):
    result = run("verify", "--json", marked)
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert report["verdict"] == "ai_generated_by_us"
    assert report["confidence"] == "proof"
    assert report["watermark"]["registered"] is True


def test_the_worst_file_decides_the_exit_code(marked, tmp_path):
    plain = tmp_path / "plain.png"
    plain.write_bytes(picture_bytes(OutputFormat.PNG))
    content = bytearray(marked.read_bytes())
    content[content.rindex(b"IDAT") + 8] ^= 1
    tampered = tmp_path / "tampered.png"
    tampered.write_bytes(content)
    text = tmp_path / "text.png"
    text.write_text("no picture")
    assert run("verify", marked, plain).exit_code == 1
    assert run("verify", tampered, plain, marked).exit_code == 2
    assert run("verify", text, tampered, marked).exit_code == 3


def test_another_machine_needs_the_roots(marked, tmp_path, monkeypatch, state_dir):
    roots = state_dir / "development-ca" / "trust-anchors.pem"
    monkeypatch.setenv("MINTMARK_SERVER__STATE_DIR", str(tmp_path / "elsewhere"))
    refused = run("verify", marked)
    assert refused.exit_code == 3
    assert "--trust-anchors" in refused.output
    assert not (tmp_path / "elsewhere").exists()  # verifying makes no authority of its own
    result = run("verify", marked, "--json", "--trust-anchors", roots)
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["watermark"]["registered"] is None


def test_a_service_can_be_asked_instead(served, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"some bytes")
    result = run("verify", path, "--url", served.url)
    assert result.exit_code == 1
    assert "no_evidence" in result.output
    assert served.verifier.contents == [b"some bytes"]


def test_a_service_that_refuses_the_file_is_an_error(served, tmp_path):
    served.verifier.error = InvalidRequest("No picture.", param="image")
    path = tmp_path / "a.png"
    path.write_bytes(b"some bytes")
    result = run("verify", path, "--url", served.url)
    assert result.exit_code == 3
    assert "No picture." in result.output


def test_settings_are_read_from_the_environment_only(state_dir):
    assert Settings().server.state_dir == state_dir


def test_a_folder_without_a_model_is_not_exported(tmp_path):
    result = run("export", tmp_path)
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert list(tmp_path.iterdir()) == []
