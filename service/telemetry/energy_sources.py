"""The energy counters of this machine: RAPL for processors, NVML for an NVIDIA GPU.

Nothing is estimated: a machine without such a counter, or one that may not be read, has none.
"""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

POWERCAP = Path("/sys/class/powercap")
# Not `intel-rapl-mmio:*`, which counts the same packages a second time.
_PACKAGES = "intel-rapl:*"

logger = logging.getLogger(__name__)


class EnergyUnreadable(Exception):
    """A counter cannot be read (any more)."""


class EnergySource(Protocol):
    """One counter of the hardware. `name`: its label, as in "rapl:package-0"."""

    name: str

    def read_j(self) -> float:
        """Return joules since some moment of the past, never less than the last time.

        Raises EnergyUnreadable. Not thread-safe.
        """


class RaplZone:
    """A RAPL zone of Linux' powercap tree: one processor package, or its memory.

    It counts everything that runs there, not only this process. The counter starts again at its
    end, after minutes at full power, so it has to be read more often than that.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Raises EnergyUnreadable; since 2020 Linux lets only root read the counter."""
        self.name = name
        self._counter = folder / "energy_uj"
        self._end_uj = _read_integer(folder / "max_energy_range_uj") + 1
        self._last_uj = _read_integer(self._counter)
        self._total_uj = 0

    def read_j(self) -> float:
        """Return the joules since this was made; see EnergySource.read_j."""
        now_uj = _read_integer(self._counter)
        self._total_uj += (now_uj - self._last_uj) % self._end_uj
        self._last_uj = now_uj
        return self._total_uj / 1e6


class NvmlDevice:
    """One GPU, since its driver was loaded (Volta and later). It counts every process on it."""

    def __init__(self, nvml: Any, index: int | None, uuid: str | None) -> None:
        """`nvml`: the module pynvml, initialised. Raises EnergyUnreadable."""
        self._nvml = nvml
        try:
            if uuid is not None:
                self._device = nvml.nvmlDeviceGetHandleByUUID(uuid)
            else:
                self._device = nvml.nvmlDeviceGetHandleByIndex(index)
            self.name = f"nvml:{nvml.nvmlDeviceGetIndex(self._device)}"
        except nvml.NVMLError as error:
            raise EnergyUnreadable(str(error)) from error
        self.read_j()

    def read_j(self) -> float:
        """Return the joules since the driver was loaded; see EnergySource.read_j."""
        try:
            millijoules: int = self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._device)
        except self._nvml.NVMLError as error:
            raise EnergyUnreadable(str(error)) from error
        return millijoules / 1e3


def find_rapl_zones(powercap: Path = POWERCAP) -> list[RaplZone]:
    """Return every package, and its memory where that is counted apart; none if not readable.

    Cores and graphics are part of their package, "psys" is more than the processor: counting them
    as well would count twice.
    """
    zones: list[RaplZone] = []
    try:
        for package in sorted(powercap.glob(_PACKAGES)):
            name = _read_name(package)
            if package.name.count(":") != 1 or not name.startswith("package"):
                continue
            zones.append(RaplZone(package, f"rapl:{name}"))
            zones += [
                RaplZone(part, f"rapl:{name}/dram")
                for part in sorted(powercap.glob(f"{package.name}:*"))
                if _read_name(part) == "dram"
            ]
    except EnergyUnreadable as error:
        logger.info("the processor's energy counters cannot be read: %s", error)
        return []
    return zones


def find_nvml_device(
    gpu: str | None, load: Callable[[], Any] = lambda: importlib.import_module("pynvml")
) -> NvmlDevice | None:
    """Return the GPU that computes, or None if it cannot be known or read.

    gpu: its index or UUID as NVML counts; None takes the only one. `load` returns pynvml, and is
    for tests.
    """
    try:
        nvml = load()
    except ImportError:
        logger.info("the GPU's energy is not counted: pip install 'mintmark[gpu]'")
        return None
    try:
        nvml.nvmlInit()
        if gpu is None and nvml.nvmlDeviceGetCount() != 1:
            logger.info("the GPU's energy is not counted: MINTMARK_TELEMETRY__ENERGY_GPU says none")
            return None
        is_index = gpu is None or gpu.isdecimal()
        return NvmlDevice(nvml, int(gpu or 0) if is_index else None, None if is_index else gpu)
    except (nvml.NVMLError, EnergyUnreadable) as error:
        logger.info("the GPU's energy is not counted: %s", error)
        return None


def _read_name(zone: Path) -> str:
    try:
        return (zone / "name").read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise EnergyUnreadable(f"{zone.name}: {error}") from error


def _read_integer(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise EnergyUnreadable(f"{path.parent.name}/{path.name}: {error}") from error
