"""For people who use locust: OpenAI's endpoint, with a share of the pictures verified.

`pip install locust` into an environment of its own (gevent patches the standard library):

    locust -f loadtests/locustfile.py --host http://127.0.0.1:3000 --headless -u 4 -r 1 -t 60s

Locust's users wait for their answers, so this is a closed loop: a server that stalls is asked less
while it stalls. Latencies that can be relied on come from `python -m loadtests.run`:
docs/loadtests.md.
"""

# locust is not among this project's dependencies, so its classes and decorators are unknown here.
# mypy: disable-error-code="misc, untyped-decorator"

from __future__ import annotations

import base64
import random
from typing import TYPE_CHECKING

from locust import HttpUser, between, events, task

if TYPE_CHECKING:
    from locust.argument_parser import LocustArgumentParser

PROMPTS = (
    "a red apple, flat style, on a white background",
    "a rocket, soft style, on a navy background",
    "a panda, 3d style, on a mint background",
)
# Turned away before any work: what a full queue should do, so no failure.
REFUSALS = (429, 503)


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    """Add ours; each can also be given as an environment variable."""
    parser.add_argument("--steps", type=int, default=4, env_var="LOADTEST_STEPS")
    parser.add_argument("--verify-share", type=float, default=0.2, env_var="LOADTEST_VERIFY_SHARE")
    parser.add_argument("--api-key", default="", env_var="MM_API_KEY", is_secret=True)


class Painter(HttpUser):
    """Asks for a picture, looks at it for a second or two, and asks for the next."""

    wait_time = between(0.5, 2.0)

    def on_start(self) -> None:
        """Draw from a generator of its own."""
        self.lots = random.Random()
        key = self.environment.parsed_options.api_key
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}

    @task
    def generate(self) -> None:
        """Ask for one picture; sometimes have it verified."""
        body = {
            "prompt": self.lots.choice(PROMPTS),
            "seed": self.lots.randrange(2**31),
            "num_inference_steps": self.environment.parsed_options.steps,
        }
        with self.client.post(
            "/v1/images/generations", json=body, headers=self.headers, catch_response=True
        ) as response:
            if response.status_code in REFUSALS:
                response.success()
                return
            if response.status_code != 200:
                response.failure(f"{response.status_code} {response.text[:200]}")
                return
            picture = base64.b64decode(response.json()["data"][0]["b64_json"])
            response.success()
        if self.lots.random() < self.environment.parsed_options.verify_share:
            self.verify(picture)

    def verify(self, picture: bytes) -> None:
        """Fail unless the server proves that the picture is its own."""
        with self.client.post(
            "/v1/images/verify",
            files={"image": ("image", picture)},
            headers=self.headers,
            catch_response=True,
        ) as response:
            if response.status_code in REFUSALS:
                response.success()
                return
            if response.status_code != 200:
                response.failure(f"{response.status_code} {response.text[:200]}")
                return
            report = response.json()
            found = f"{report['verdict']}/{report['confidence']}"
            if found == "ai_generated_by_us/proof":
                response.success()
            else:
                response.failure(f"unsigned: {found}")
