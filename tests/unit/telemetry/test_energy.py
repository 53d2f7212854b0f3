"""Energy is what hardware counts, shared among those it worked for; without hardware, nothing."""

from __future__ import annotations

import shutil
import threading
import time

import pytest

from service.domain.events import Decoded, Finished, Outcome, StepDone, Woke
from service.domain.identity import Deadline, RequestId
from service.domain.stream import Completed
from service.telemetry.energy import (
    EnergyAccount,
    EnergyMeter,
    energy_sampler,
    find_energy_sources,
)
from service.telemetry.energy_sources import (
    EnergyUnreadable,
    RaplZone,
    find_nvml_device,
    find_rapl_zones,
)
from service.telemetry.generation import CountedGeneration
from service.telemetry.metrics import Metrics
from service.telemetry.options import TelemetryOptions
from tests.factories import make_request
from tests.fakes import FakeGeneration

ONE, TWO = RequestId("one"), RequestId("two")
DEADLINE = Deadline(1e12)


class Powercap:
    """A powercap tree as Linux shows it, with counters that a test moves."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.folder.mkdir()

    def zone(self, path: str, name: str, energy_uj: int = 0, end_uj: int = 10**9) -> str:
        zone = self.folder / path
        zone.mkdir()
        (zone / "name").write_text(f"{name}\n")
        (zone / "max_energy_range_uj").write_text(f"{end_uj}\n")
        self.set(path, energy_uj)
        return path

    def set(self, path: str, energy_uj: int) -> None:
        (self.folder / path / "energy_uj").write_text(f"{energy_uj}\n")


class FakeSource:
    """A counter that a test moves, or breaks."""

    def __init__(self, name: str = "fake") -> None:
        self.name = name
        self.joules = 100.0
        self.is_broken = False

    def read_j(self) -> float:
        if self.is_broken:
            raise EnergyUnreadable("it is gone")
        return self.joules


class FakeNvml:
    """The functions of pynvml that are used, for GPUs by UUID; `joules` is what each says."""

    class NVMLError(Exception):
        pass

    def __init__(self, *uuids: str, has_driver: bool = True, counts_energy: bool = True) -> None:
        self.uuids = list(uuids)
        self.joules = dict.fromkeys(uuids, 5.0)
        self.counts_energy = counts_energy
        self._has_driver = has_driver

    def nvmlInit(self) -> None:  # noqa: N802 - the library's names
        if not self._has_driver:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.uuids)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        if index >= len(self.uuids):
            raise self.NVMLError("Invalid Argument")
        return self.uuids[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        if uuid not in self.uuids:
            raise self.NVMLError("Not Found")
        return uuid

    def nvmlDeviceGetIndex(self, device: str) -> int:  # noqa: N802
        return self.uuids.index(device)

    def nvmlDeviceGetTotalEnergyConsumption(self, device: str) -> int:  # noqa: N802
        if not self.counts_energy:
            raise self.NVMLError("Not Supported")
        return int(self.joules[device] * 1000)


@pytest.fixture
def powercap(tmp_path):
    return Powercap(tmp_path / "powercap")


def exposed(metrics):
    lines = metrics.exposition().decode().splitlines()
    return {line for line in lines if line.startswith("mintmark_energy")}


def step(*shares, size_px=(64, 64)):
    rows = sum(rows for _, rows in shares)
    return StepDone("toy/4x16x16", rows, len(shares), 0.1, "toy", size_px, shares)


def test_packages_and_their_memory_are_counted_once(powercap):
    powercap.zone("intel-rapl:0", "package-0")
    powercap.zone("intel-rapl:0:0", "core")
    powercap.zone("intel-rapl:0:1", "dram")
    powercap.zone("intel-rapl:1", "package-1")
    powercap.zone("intel-rapl:2", "psys")
    powercap.zone("intel-rapl-mmio:0", "package-0")
    names = [zone.name for zone in find_rapl_zones(powercap.folder)]
    assert names == ["rapl:package-0", "rapl:package-0/dram", "rapl:package-1"]


def test_a_rapl_counter_that_starts_again_loses_nothing(powercap):
    powercap.zone("intel-rapl:0", "package-0", energy_uj=999_000_000, end_uj=999_999_999)
    (zone,) = find_rapl_zones(powercap.folder)
    assert zone.read_j() == 0
    powercap.set("intel-rapl:0", 2_000_000)
    assert zone.read_j() == 3.0
    powercap.set("intel-rapl:0", 2_500_000)
    assert zone.read_j() == 3.5


@pytest.mark.parametrize("damage", ["no tree", "no counter", "no number"])
def test_without_a_readable_counter_there_is_no_source_and_no_metric(powercap, damage):
    zone = powercap.folder / powercap.zone("intel-rapl:0", "package-0")
    if damage == "no tree":
        shutil.rmtree(powercap.folder)
    elif damage == "no counter":  # as for everyone but root
        (zone / "energy_uj").unlink()
    else:
        (zone / "energy_uj").write_text("many")
    sources = find_rapl_zones(powercap.folder)
    assert sources == []
    metrics = Metrics("test")
    EnergyMeter(sources, metrics).read_j()
    assert "energy" not in metrics.exposition().decode()


def test_the_only_gpu_is_counted_and_of_several_the_one_that_is_named():
    alone = FakeNvml("GPU-a")
    device = find_nvml_device(None, lambda: alone)
    assert device is not None
    assert (device.name, device.read_j()) == ("nvml:0", 5.0)
    several = FakeNvml("GPU-a", "GPU-b")
    assert find_nvml_device(None, lambda: several) is None
    for gpu in ("1", "GPU-b"):
        named = find_nvml_device(gpu, lambda: several)
        assert named is not None
        assert named.name == "nvml:1"


@pytest.mark.parametrize(
    ("nvml", "gpu"),
    [
        (FakeNvml(has_driver=False), None),
        (FakeNvml(), None),
        (FakeNvml("GPU-a", counts_energy=False), None),
        (FakeNvml("GPU-a"), "7"),
        (FakeNvml("GPU-a"), "GPU-c"),
    ],
    ids=["no driver", "no GPU", "an old GPU", "no such index", "no such UUID"],
)
def test_a_gpu_that_cannot_be_read_is_no_source(nvml, gpu):
    assert find_nvml_device(gpu, lambda: nvml) is None


def test_without_the_library_no_gpu_is_counted():
    def load():
        raise ImportError("No module named 'pynvml'")

    assert find_nvml_device(None, load) is None


def test_the_real_library_is_asked_by_the_names_it_has():
    nvml = pytest.importorskip("pynvml")
    used = [name for name in vars(FakeNvml) if name.startswith("nvml")]
    assert [name for name in used if not callable(getattr(nvml, name, None))] == []
    assert issubclass(nvml.NVMLError, Exception)
    find_nvml_device(None)  # whether or not there is a driver here, it does not raise


def test_energy_can_be_switched_off():
    assert find_energy_sources(TelemetryOptions(energy=False), uses_gpu=True) == []


def test_what_is_new_at_a_reading_is_counted_by_source():
    metrics, first, second = Metrics("test"), FakeSource("a"), FakeSource("b")
    meter = EnergyMeter([first, second], metrics)
    assert exposed(metrics) == {
        'mintmark_energy_joules_total{source="a"} 0.0',
        'mintmark_energy_joules_total{source="b"} 0.0',
    }
    first.joules += 2
    second.joules += 3
    assert meter.read_j() == 5
    first.joules += 1
    assert meter.read_j() == 6
    assert exposed(metrics) == {
        'mintmark_energy_joules_total{source="a"} 3.0',
        'mintmark_energy_joules_total{source="b"} 3.0',
    }


def test_a_source_that_fails_is_given_up_and_its_count_stands_still(caplog):
    metrics, broken, whole = Metrics("test"), FakeSource("a"), FakeSource("b")
    meter = EnergyMeter([broken, whole], metrics)
    broken.is_broken = True
    whole.joules += 4
    assert meter.read_j() == 4
    broken.is_broken = False
    broken.joules += 1000
    assert meter.read_j() == 4
    assert meter.sources == ("b",)
    assert 'mintmark_energy_joules_total{source="a"} 0.0' in exposed(metrics)
    assert caplog.text.count("no longer counted by a") == 1


def test_a_step_is_shared_by_rows_and_a_decoded_picture_is_its_own():
    source = FakeSource()
    account = EnergyAccount(EnergyMeter([source], Metrics("test")))
    source.joules += 500  # while the engine waits: nobody's
    account.on_event(Woke())
    source.joules += 8
    account.on_event(step((ONE, 2), (TWO, 1), (TWO, 1)))
    source.joules += 3
    account.on_event(step((TWO, 1), (TWO, 1)))
    source.joules += 1
    account.on_event(Decoded(1, 0.1, ONE))
    one, two = account.take(ONE), account.take(TWO)
    assert one is not None
    assert two is not None
    assert (one.joules, one.sources) == (5.0, ("fake",))
    assert two.joules == 7.0
    assert account.take(ONE) is None  # once


def test_of_a_request_that_did_not_end_well_nothing_is_kept():
    source = FakeSource()
    account = EnergyAccount(EnergyMeter([source], Metrics("test")))
    account.on_event(step((ONE, 1)))
    account.on_event(Finished(ONE, Outcome.CANCELLED, 1.0, has_started=True))
    assert account.take(ONE) is None


def test_what_was_only_partly_counted_is_not_told():
    first, second = FakeSource("a"), FakeSource("b")
    account = EnergyAccount(EnergyMeter([first, second], Metrics("test")))
    account.on_event(step((ONE, 1)))
    first.is_broken = True
    account.on_event(step((ONE, 1)))
    assert account.take(ONE) is None
    account.on_event(step((TWO, 1)))
    two = account.take(TWO)
    assert two is not None
    assert two.sources == ("b",)


def test_results_that_nobody_asks_for_are_forgotten():
    account = EnergyAccount(EnergyMeter([FakeSource()], Metrics("test")))
    for number in range(1025):
        account.on_event(step((RequestId(str(number)), 1)))
    assert account.take(RequestId("0")) is None
    assert account.take(RequestId("1024")) is not None


async def test_results_say_what_they_took_where_it_is_counted():
    source = FakeSource()
    account = EnergyAccount(EnergyMeter([source], Metrics("test")))
    generate = CountedGeneration(FakeGeneration(), Metrics("test"), energy=account)
    source.joules += 6
    account.on_event(step((ONE, 1)))
    result = await generate(make_request(num_images=2), request_id=ONE, deadline=DEADLINE)
    assert result.energy is not None
    assert result.energy.joules == 6
    account.on_event(step((TWO, 1)))
    events = generate.stream(make_request(), request_id=TWO, deadline=DEADLINE)
    (done,) = [event async for event in events if isinstance(event, Completed)]
    assert done.result.energy is not None


async def test_results_say_nothing_where_it_is_not_counted():
    generate = CountedGeneration(FakeGeneration(), Metrics("test"))
    result = await generate(make_request(), request_id=ONE, deadline=DEADLINE)
    assert result.energy is None


def test_the_sampler_reads_while_nothing_is_drawn_and_ends():
    metrics, source = Metrics("test"), FakeSource()
    sampler = energy_sampler(EnergyMeter([source], metrics), interval_s=0.01)
    source.joules += 2
    sampler.start()
    ends_at_s = time.monotonic() + 10
    while exposed(metrics) != {'mintmark_energy_joules_total{source="fake"} 2.0'}:
        assert time.monotonic() < ends_at_s
        time.sleep(0.01)
    sampler.stop()
    assert "energy-sampler" not in [thread.name for thread in threading.enumerate()]


def test_a_counter_of_the_gpu_that_fails_later_is_unreadable():
    nvml = FakeNvml("GPU-a")
    device = find_nvml_device("0", lambda: nvml)
    assert device is not None
    nvml.counts_energy = False
    with pytest.raises(EnergyUnreadable, match="Not Supported"):
        device.read_j()


def test_a_zone_without_a_range_is_unreadable(tmp_path):
    (tmp_path / "energy_uj").write_text("1")
    with pytest.raises(EnergyUnreadable, match="max_energy_range_uj"):
        RaplZone(tmp_path, "rapl:package-0")


def test_a_gpu_is_asked_about_only_if_the_models_run_on_one():
    found = find_energy_sources(TelemetryOptions(), uses_gpu=False)
    assert [source.name for source in found] == [zone.name for zone in find_rapl_zones()]
