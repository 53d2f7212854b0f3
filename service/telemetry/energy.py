"""What the hardware says the work has cost: a counter for operators, a share for each request."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from service.domain.events import Decoded, EngineEvent, Finished, Outcome, StepDone, Woke
from service.domain.result import RequestEnergy
from service.repetition import Repetition
from service.telemetry.energy_sources import EnergyUnreadable, find_nvml_device, find_rapl_zones
from service.telemetry.metric_table import ENERGY_JOULES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.domain.identity import RequestId
    from service.telemetry.energy_sources import EnergySource
    from service.telemetry.metrics import Metrics
    from service.telemetry.options import TelemetryOptions

# Well below what a processor's counter takes to start again: 65 kJ at 1 kW.
_SAMPLE_S = 5.0
# What was done for requests that nobody asks about any more.
_MAX_REQUESTS = 1024

logger = logging.getLogger(__name__)


def find_energy_sources(options: TelemetryOptions, *, uses_gpu: bool) -> list[EnergySource]:
    """Return what this machine can be asked about; a GPU only if the models run on one."""
    if not options.energy:
        return []
    sources: list[EnergySource] = [*find_rapl_zones()]
    device = find_nvml_device(options.energy_gpu) if uses_gpu else None
    return sources if device is None else [*sources, device]


class EnergyMeter:
    """Joules of all sources since this was made; what is new at a reading is counted. Thread-safe.

    A source that fails is given up: a counter that has missed something says too little.
    """

    def __init__(self, sources: Iterable[EnergySource], metrics: Metrics) -> None:
        self._metrics = metrics
        self._lock = threading.Lock()
        self._last_j: dict[EnergySource, float] = {}
        self._total_j = 0.0
        for source in sources:
            try:
                self._last_j[source] = source.read_j()
            except EnergyUnreadable as error:
                _say_given_up(source, error)
            else:
                metrics.count(ENERGY_JOULES, source.name, amount=0.0)

    @property
    def sources(self) -> tuple[str, ...]:
        """Return the names of what is counted."""
        with self._lock:
            return tuple(source.name for source in self._last_j)

    def read_j(self) -> float:
        """Return the joules so far."""
        with self._lock:
            for source, last_j in list(self._last_j.items()):
                try:
                    now_j = source.read_j()
                except EnergyUnreadable as error:
                    _say_given_up(source, error)
                    del self._last_j[source]
                    continue
                self._last_j[source] = now_j
                self._total_j += now_j - last_j
                self._metrics.count(ENERGY_JOULES, source.name, amount=now_j - last_j)
            return self._total_j


def energy_sampler(meter: EnergyMeter, interval_s: float = _SAMPLE_S) -> Repetition:
    """Return what reads the meter, also while nothing is drawn.

    Scrapes read nothing: a driver that hangs must not hold up whoever asks what is wrong.
    """

    def sample() -> float:
        meter.read_j()
        return interval_s

    return Repetition(sample, "energy-sampler", stop_s=interval_s)


class EnergyAccount:
    """Shares what was counted while the engine worked among the requests that it worked for.

    Between two readings that is whose rows the step had, in proportion to them, or whose picture
    was decoded. What is counted while the engine waits is nobody's. Implements Observer, on the
    engine thread; `take` belongs to any other.
    """

    def __init__(self, meter: EnergyMeter) -> None:
        self._meter = meter
        self._last_j = meter.read_j()
        self._spent: OrderedDict[RequestId, tuple[float, tuple[str, ...]]] = OrderedDict()

    def on_event(self, event: EngineEvent) -> None:
        """Take a reading where work begins or ends."""
        match event:
            case StepDone():
                self._share(event.shares, event.rows)
            case Decoded():
                self._share(((event.request_id, 1),), 1)
            case Woke():
                self._last_j = self._meter.read_j()
            case Finished() if event.outcome is not Outcome.DONE:
                self._spent.pop(event.request_id, None)
            case _:
                pass

    def take(self, request_id: RequestId) -> RequestEnergy | None:
        """Return what a finished request took, once; None if it, or a part of it, is not known."""
        joules, sources = self._spent.pop(request_id, (0.0, ()))
        if not sources or sources != self._meter.sources:
            return None
        return RequestEnergy(joules, sources)

    def _share(self, shares: Iterable[tuple[RequestId, int]], rows: int) -> None:
        now_j = self._meter.read_j()
        joules_per_row = (now_j - self._last_j) / rows
        self._last_j = now_j
        for request_id, own_rows in shares:
            begun = self._spent.get(request_id)
            joules, sources = begun or (0.0, self._meter.sources)
            self._spent[request_id] = (joules + own_rows * joules_per_row, sources)
        while len(self._spent) > _MAX_REQUESTS:
            self._spent.popitem(last=False)


def _say_given_up(source: EnergySource, error: EnergyUnreadable) -> None:
    logger.warning("energy is no longer counted by %s: %s", source.name, error)
