"""The fault of the slow signer: a wait in one method, whose length can be changed meanwhile."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

from loadtests.chaos import slow_signing
from loadtests.chaos.slow_signing import slowed

SIGNER = textwrap.dedent(
    """
    class C2paSigner:
        def sign(self, content):
            return content
    """
)
ASK = textwrap.dedent(
    """
    import time
    from service.provenance.signer import C2paSigner
    began_s = time.monotonic()
    print(C2paSigner().sign("content"), time.monotonic() - began_s)
    """
)


def test_a_call_waits_as_long_as_the_file_says_now(tmp_path):
    delay = tmp_path / "delay"
    seen: list[float] = []
    sign = slowed(lambda content: content, delay, seen.append)
    for seconds in ("0", "2.5"):
        delay.write_text(seconds)
        assert sign(b"picture") == b"picture"
    assert seen == [0.0, 2.5]


def test_a_process_that_finds_a_copy_signs_slowly(tmp_path):
    """The copy stands before a package whose signer is not ours: it needs nothing but the name."""
    package = tmp_path / "service" / "provenance"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").touch()
    (package / "signer.py").write_text(SIGNER)
    source = Path(slow_signing.__file__).read_text(encoding="utf-8")
    (tmp_path / f"{slow_signing.ACTIVE_NAME}.py").write_text(source)
    (tmp_path / slow_signing.DELAY_FILE).write_text("0.3")
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    content, took_s = done.stdout.split()
    assert content == "content"
    assert float(took_s) >= 0.3
