"""The main job, end to end: a prompt goes in, a picture comes out that anyone can verify.

Everything here uses what a stranger would: the `openai` package, the plain C2PA reader with the
trust anchors the service hands out, Pillow, and HTTP.
"""

from __future__ import annotations

import base64
import concurrent.futures
import hashlib
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import c2pa
import httpx
import numpy as np
import openai
import pytest
from PIL import Image
from skimage import data

from service.provenance.watermark import SpreadSpectrumWatermarker
from tests.e2e.server import ROOT, run_server

PROMPT = "a red apple, flat style, on a white background"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with run_server(tmp_path_factory.mktemp("main-job")) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def picture(client):
    """One PNG as an OpenAI client gets it, with the answer's item."""
    answer = client.images.generate(prompt=PROMPT, extra_body={"seed": 42})
    item = answer.data[0]
    return base64.b64decode(item.b64_json), item


def verify(server, content: bytes) -> dict[str, Any]:
    answer = httpx.post(f"{server.url}/v1/images/verify", files={"image": ("p", content)})
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    return report


def read_credentials(server, content: bytes, mime_type: str) -> dict[str, Any]:
    """Return what the plain library reads with the anchors the service hands out."""
    anchors = httpx.get(f"{server.url}/v1/provenance/trust-anchors").text
    settings = {"trust": {"trust_anchors": anchors}, "verify": {"verify_trust": True}}
    context = c2pa.Context.from_dict(settings)
    try:
        with c2pa.Reader(mime_type, io.BytesIO(content), context=context) as reader:
            return {
                "state": reader.get_validation_state(),
                "manifest": reader.get_active_manifest(),
            }
    finally:
        context.close()


def pixels_of(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def stripped(content: bytes) -> bytes:
    """Return the same pixels in a file without any metadata, as a screenshot would."""
    out = io.BytesIO()
    Image.fromarray(pixels_of(content)).save(out, format="PNG")
    return out.getvalue()


def test_an_unmodified_openai_client_gets_a_picture(picture):
    content, item = picture
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
        assert image.size == (64, 64)
    assert item.model_extra["seed"] == 42
    assert item.model_extra["output_id"].startswith("out_")
    assert len(item.model_extra["pixels_sha256"]) == 64


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_any_c2pa_reader_trusts_it_with_the_served_anchors(server, client, output_format):
    answer = client.images.generate(prompt=PROMPT, output_format=output_format)
    content = base64.b64decode(answer.data[0].b64_json)
    credentials = read_credentials(server, content, f"image/{output_format}")
    assert credentials["state"] == "Trusted"
    labels = {assertion["label"] for assertion in credentials["manifest"]["assertions"]}
    assert "c2pa.actions.v2" in labels
    assert PROMPT not in str(credentials["manifest"])


def test_the_watermark_decodes_to_the_id_in_the_answer(picture):
    content, item = picture
    reading = SpreadSpectrumWatermarker().detect(pixels_of(content))
    assert reading is not None
    assert reading.watermark_id == int(item.model_extra["watermark_id"], 16)


def test_the_service_recognises_its_picture(server, picture):
    content, item = picture
    report = verify(server, content)
    assert report["verdict"] == "ai_generated_by_us"
    assert report["c2pa"]["state"] == "Trusted"
    assert report["watermark"]["present"]
    assert report["watermark"]["registered"]
    assert report["watermark"]["output_id"] == item.model_extra["output_id"]


def test_one_flipped_byte_makes_the_credentials_invalid(server, picture):
    content, _ = picture
    spoiled = bytearray(content)
    spoiled[content.index(b"IDAT") + 20] ^= 1
    try:
        state = read_credentials(server, bytes(spoiled), "image/png")["state"]
    except c2pa.C2paError as error:
        pytest.fail(f"a tampered file must still be readable: {error}")
    assert state == "Invalid"


def test_the_service_calls_a_tampered_picture_invalid(server, picture):
    content, _ = picture
    appended = content + b"\0"  # behind the end of the picture: the pixels still decode
    report = verify(server, appended)
    assert report["verdict"] == "invalid_credentials"
    assert report["c2pa"]["state"] == "Invalid"
    assert report["watermark"]["registered"]


def test_without_credentials_the_watermark_still_tells(server, picture):
    content, item = picture
    report = verify(server, stripped(content))
    assert report["c2pa"]["state"] == "Absent"
    assert report["watermark"]["registered"]
    assert report["watermark"]["output_id"] == item.model_extra["output_id"]
    assert report["verdict"].startswith("ai_generated_by_us")


def test_a_foreign_photograph_is_no_evidence(server):
    out = io.BytesIO()
    Image.fromarray(data.astronaut()).save(out, format="PNG")
    report = verify(server, out.getvalue())
    assert report["verdict"] == "no_evidence"
    assert not report["watermark"]["present"]


def test_the_same_request_and_seed_gives_the_same_pixels_and_another_output(client, picture):
    _, first = picture
    second = client.images.generate(prompt=PROMPT, extra_body={"seed": 42}).data[0]
    assert second.model_extra["pixels_sha256"] == first.model_extra["pixels_sha256"]
    assert second.model_extra["output_id"] != first.model_extra["output_id"]


def test_sixteen_concurrent_requests_give_the_pixels_they_give_alone(client):
    schedulers = ("ddim", "euler", "euler_ancestral", "dpmpp_2m_karras")

    def draw(index: int) -> str:
        answer = client.images.generate(
            prompt=PROMPT if index % 2 else "a dog, soft style, on a yellow background",
            extra_body={
                "seed": index,
                "num_inference_steps": 3 + index,
                "guidance_scale": (0.0, 1.0, 4.0, 7.5)[index % 4],
                "scheduler": schedulers[index // 4],
            },
        )
        return str(answer.data[0].model_extra["pixels_sha256"])

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        together = list(pool.map(draw, range(16)))
    assert together == [draw(index) for index in range(16)]
    assert len(set(together)) == 16


def test_image_i_of_a_request_is_reproducible_by_its_own_seed(client):
    body = {"seed": 100, "num_inference_steps": 4}
    three = client.images.generate(prompt=PROMPT, n=3, extra_body=body).data
    alone = client.images.generate(
        prompt=PROMPT, extra_body=body | {"seed": three[2].model_extra["seed"]}
    ).data[0]
    assert alone.model_extra["pixels_sha256"] == three[2].model_extra["pixels_sha256"]


def test_the_command_line_draws_and_verifies(server, tmp_path):
    target = tmp_path / "apple.png"
    mintmark = [sys.executable, "-m", "service.cli"]
    draw = [*mintmark, "generate", PROMPT, "-o", str(target), "--url", server.url, "--steps", "4"]
    subprocess.run(draw, cwd=ROOT, check=True, timeout=60, capture_output=True)
    anchors = tmp_path / "anchors.pem"
    anchors.write_text(httpx.get(f"{server.url}/v1/provenance/trust-anchors").text)
    offline = [*mintmark, "verify", "--json", "--trust-anchors", str(anchors), str(target)]
    done = subprocess.run(offline, cwd=ROOT, check=True, timeout=60, capture_output=True)
    assert b"Trusted" in done.stdout


def test_no_default_setting_needs_a_network(tmp_path):
    """The whole job runs in a network namespace that has nothing but a loopback device."""
    namespace = ["unshare", "--net", "--map-root-user"]
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not allow network namespaces")
    script = Path(__file__).with_name("offline_job.py")
    command = [*namespace, sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    assert b"ai_generated_by_us" in done.stdout


def test_digests_in_the_answer_match_what_was_sent(server):
    answer = httpx.post(
        f"{server.url}/v1/images/generations", json={"prompt": PROMPT, "n": 2}, timeout=60
    ).json()
    digests = {hashlib.sha256(base64.b64decode(i["b64_json"])).hexdigest() for i in answer["data"]}
    assert len(digests) == 2
    assert len({item["output_id"] for item in answer["data"]}) == 2
