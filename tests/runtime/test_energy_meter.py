"""RAPL counters as Linux lays them out, in a folder of our own: sums, wrap-arounds, and what cannot be read."""

import os
import sys
import threading
import types
from pathlib import Path

import pytest
from edge_adapt.runtime.energy import Energy, EnergyMeter

RANGE = 262_143_328_850


def counter(root: Path, folder: str, name: str, microjoules: int) -> Path:
    path = root / folder
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "max_energy_range_uj").write_text(f"{RANGE}\n")
    (path / "energy_uj").write_text(f"{microjoules}\n")
    return path / "energy_uj"


def test_what_was_used_is_summed_over_packages_and_wrap_arounds(tmp_path: Path) -> None:
    first = counter(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    counter(tmp_path, "intel-rapl:0/intel-rapl:0:0", "core", 5)  # a part of its package
    counter(tmp_path, "intel-rapl:0:0", "core", 5)
    second = counter(tmp_path, "intel-rapl:1", "package-1", RANGE - 500_000)
    platform = counter(tmp_path, "intel-rapl:2", "psys", 0)
    with EnergyMeter(tmp_path) as meter:
        first.write_text("3500000")
        second.write_text("250000")
        platform.write_text("9000000")
    found = meter.result
    assert found.joules == {"package-0": 2.5, "package-1": 0.75, "psys": 9.0}
    assert found.total_joules == 3.25
    assert "3.25 J measured" in found.line()


def test_several_wrap_arounds_are_seen_by_the_watcher(tmp_path: Path) -> None:
    file = counter(tmp_path, "intel-rapl:0", "package-0", 0)
    with EnergyMeter(tmp_path, sample_seconds=3600) as meter:
        for value in (RANGE - 10, 5, RANGE - 10, 5):  # what a sample now and then would see
            file.write_text(str(value))
            meter._look()
    assert meter.result.joules["package-0"] == pytest.approx((2 * RANGE + 5) / 1e6)


def test_the_watcher_looks_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = counter(tmp_path, "intel-rapl:0", "package-0", 0)
    looked = threading.Event()
    with EnergyMeter(tmp_path, sample_seconds=0.05) as meter:
        monkeypatch.setattr(meter, "_look", looked.set)
        assert looked.wait(20)
        monkeypatch.undo()
        file.write_text("5")
    assert meter.result.joules["package-0"] == pytest.approx(5e-6)


def assert_not_measured(energy: Energy, *fragments: str) -> None:
    assert energy.joules == {}
    assert energy.total_joules is None
    assert energy.line().startswith("energy: not measured (")
    for fragment in fragments:
        assert fragment in energy.line()


def test_what_cannot_be_measured_is_said_and_not_estimated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EnergyMeter(tmp_path) as meter:
        pass
    assert_not_measured(meter.result, "no RAPL counters", str(tmp_path))

    file = counter(tmp_path, "intel-rapl:0", "package-0", 0)
    with EnergyMeter(tmp_path) as meter:
        file.write_text("garbage")
    assert_not_measured(meter.result, "could not be read to the end")
    with EnergyMeter(tmp_path) as meter:
        pass
    assert_not_measured(meter.result, "cannot be read", "garbage")

    file.write_text("1")
    real = Path.read_text

    def forbidden(path: Path, *arguments: object) -> str:
        if path == file:
            raise PermissionError(13, os.strerror(13), str(path))
        return real(path, *arguments)

    monkeypatch.setattr(Path, "read_text", forbidden)
    with EnergyMeter(tmp_path) as meter:
        pass
    assert_not_measured(meter.result, "no permission to read", str(file), "chmod a+r")


class Monitor:
    """What zeus offers, and a measurement of a Jetson, an Apple chip or CPU packages."""

    cpu_indices = ()
    soc_is_present = True
    soc = types.SimpleNamespace(total_energy_mj=2500.0, cpu_energy_mj=900.0)
    cpu = None

    def __init__(self, gpu_indices: list[int]) -> None:
        assert gpu_indices == []

    def begin_window(self, key: str, sync_execution: bool) -> None:
        assert not sync_execution

    def end_window(self, key: str, sync_execution: bool) -> types.SimpleNamespace:
        return types.SimpleNamespace(cpu_energy=self.cpu, soc_energy=self.soc)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"chip": 2.5}),
        ({"soc": types.SimpleNamespace(cpu_total_mj=400, dram_mj=100, gpu_mj=50)}, {"cpu": 0.4, "memory": 0.1}),
        ({"soc": None, "cpu": {0: 3.0, 1: 4.0}, "soc_is_present": False, "cpu_indices": (0, 1)},
         {"package-0": 3.0, "package-1": 4.0}),
    ],
)  # fmt: skip
def test_zeus_measures_where_there_are_no_counters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict, expected: dict[str, float]
) -> None:
    monitor = type("ZeusMonitor", (Monitor,), given)
    monkeypatch.setitem(sys.modules, "zeus", types.ModuleType("zeus"))
    monkeypatch.setitem(sys.modules, "zeus.monitor", types.SimpleNamespace(ZeusMonitor=monitor))
    with EnergyMeter(tmp_path) as meter:
        pass
    assert meter.result.joules == expected
    assert meter.result.total_joules == pytest.approx(sum(expected.values()))
    assert "measured (zeus" in meter.result.line()


def test_zeus_is_not_asked_where_counters_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter(tmp_path, "intel-rapl:0", "package-0", 0)
    monkeypatch.setattr("edge_adapt.runtime.zeus_meter.begin", lambda: pytest.fail("asked"))
    with EnergyMeter(tmp_path) as meter:
        pass
    assert meter.result.source == "RAPL"


def test_a_zeus_that_cannot_measure_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise RuntimeError("Root privilege is required\nsee the manual")

    monkeypatch.setitem(sys.modules, "zeus", types.ModuleType("zeus"))
    monkeypatch.setitem(sys.modules, "zeus.monitor", types.SimpleNamespace(ZeusMonitor=refuse))
    with EnergyMeter(tmp_path) as meter:
        pass
    assert_not_measured(meter.result, "no RAPL counters", "Root privilege is required")
