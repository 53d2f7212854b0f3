"""Makes signing slow in every Python process that finds a copy of this file as `sitecustomize`.

Python imports a module of that name by itself when it starts, as `LD_PRELOAD` does with libraries;
so the service needs no seam for it. A signing waits as many seconds as the file `DELAY_FILE` beside
the copy says, in the thread that signs, as for a signer across a network.
"""

from __future__ import annotations

import functools
import sys
import time
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

_MODULE = "service.provenance.signer"
DELAY_FILE = "signing_delay_s"
ACTIVE_NAME = "sitecustomize"


def slowed(
    sign: Callable[..., Any], delay: Path, sleep: Callable[[float], None] = time.sleep
) -> Callable[..., Any]:
    """Return `sign` behind a wait of as many seconds as the file says at that moment."""

    @functools.wraps(sign)
    def wait_and_sign(*args: Any) -> Any:
        sleep(float(delay.read_text(encoding="ascii")))
        return sign(*args)

    return wait_and_sign


class _Loader(SourceFileLoader):
    """Loads the signer's module as it is, and slows the one method."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        signer = module.C2paSigner
        signer.sign = slowed(signer.sign, Path(__file__).parent / DELAY_FILE)


class _Finder:
    """Finds that module only, where it would be found anyway."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _MODULE:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


if __name__ == ACTIVE_NAME:
    sys.meta_path.insert(0, _Finder())
