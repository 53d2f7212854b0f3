"""Tells an image's environment which version it runs, while the code stays where the Bento has it.

`python record_version.py PYPROJECT` writes the metadata that `importlib.metadata` reads, of the
project that PYPROJECT describes, into the environment of the Python that runs it.
"""

from __future__ import annotations

import sys
import sysconfig
import tomllib
from pathlib import Path


def record(pyproject: Path, packages: Path) -> Path:
    """Write the metadata below `packages`, a site-packages folder; return the folder made for it.

    Raises KeyError if `pyproject` names no project or no version, OSError if it cannot be written.
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    name, version = project["name"], project["version"]
    folder = packages / f"{name}-{version}.dist-info"
    folder.mkdir()
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (folder / "METADATA").write_text(text, encoding="utf-8")
    return folder


if __name__ == "__main__":
    record(Path(sys.argv[1]), Path(sysconfig.get_path("purelib")))
