"""The version of this installation."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """Return the version of the installed package.

    A Bento carries the code without the package's metadata; there the version is "bento".
    """
    try:
        return version("mintmark")
    except PackageNotFoundError:
        return "bento"
