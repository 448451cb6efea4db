"""Energy meters against fake sysfs trees and a fake NVML."""

import pytest

from edge_fiqa.errors import BackendMissing
from edge_fiqa.measurement.energy import (
    Nvml,
    Rapl,
    Sampled,
    energy_of,
    find_meter,
    idle_watts,
    ina238,
    ina3221,
)


def tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n", encoding="utf-8")
    return root


@pytest.fixture
def powercap(tmp_path):
    files = {}
    for zone, name in (
        ("intel-rapl:0", "package-0"),
        ("intel-rapl:1", "package-1"),
        ("intel-rapl:0:0", "core"),  # part of package-0: counted there already
        ("intel-rapl:2", "psys"),  # the whole platform: would count everything twice
    ):
        files |= {
            f"{zone}/name": name,
            f"{zone}/energy_uj": 1_000_000,
            f"{zone}/max_energy_range_uj": 10_000_000,
        }
    return tree(tmp_path, files)


def test_rapl_adds_packages_only(powercap):
    meter = Rapl(powercap)
    assert meter.name == "rapl (package-0, package-1)"
    assert meter.joules() == 0
    (powercap / "intel-rapl:0/energy_uj").write_text("3000000\n", encoding="utf-8")
    (powercap / "intel-rapl:1/energy_uj").write_text("1500000\n", encoding="utf-8")
    (powercap / "intel-rapl:0:0/energy_uj").write_text("9000000\n", encoding="utf-8")
    assert meter.joules() == pytest.approx(2.5)


def test_rapl_goes_on_counting_when_its_counter_wraps(powercap):
    meter = Rapl(powercap)
    for counter, joules in ((9_000_000, 8), (500_000, 9.5), (1_000_000, 10), (0, 19)):
        (powercap / "intel-rapl:0/energy_uj").write_text(str(counter), encoding="utf-8")
        assert meter.joules() == pytest.approx(joules)


def test_rapl_says_why_not(tmp_path, powercap):
    with pytest.raises(BackendMissing, match="no package in powercap"):
        Rapl(tmp_path / "nothing")
    (powercap / "intel-rapl:0/energy_uj").unlink()
    with pytest.raises(BackendMissing, match="energy_uj: No such file"):
        Rapl(powercap)


def jetson(root, rails):
    files = {"hwmon0/name": "nvme", "hwmon1/name": "ina3221"}
    for number, (label, millivolts, milliamperes) in enumerate(rails, 1):
        files[f"hwmon1/in{number}_label"] = label
        files[f"hwmon1/in{number}_input"] = millivolts
        files[f"hwmon1/curr{number}_input"] = milliamperes
    return tree(root, files)


@pytest.mark.parametrize(
    ("rails", "name", "watts"),
    [
        ([("VDD_IN", 5000, 1000), ("VDD_CPU", 5000, 300)], "ina3221 (VDD_IN)", 5.0),
        (
            [("GPU", 5000, 1000), ("CPU", 5000, 200), ("sum of shunt voltages", 9, 9)],
            "ina3221 (CPU, GPU)",
            6.0,
        ),
        ([("GPU", 5000, 1000), ("NC", 5000, 900)], "ina3221 (GPU)", 5.0),
        ([("VIN", 5000, 1000), ("VDD_GPU", 5000, 300)], "ina3221 (VIN)", 5.0),
    ],
)
def test_a_jetson_counts_its_input_or_all_rails(tmp_path, rails, name, watts):
    meter = ina3221(jetson(tmp_path, rails))
    assert meter.name == name
    assert idle_watts(meter, 0.05) == pytest.approx(watts, rel=0.1)
    meter.close()


def test_a_thor_counts_its_input(tmp_path):
    """The INA3221 beside it sees parts of the same energy: they are not added."""
    jetson(tmp_path, [("VDD_GPU", 5000, 1000), ("VDD_CPU_SOC_MSS", 5000, 300)])
    meter = ina238(tree(tmp_path, {"hwmon2/name": "ina238", "hwmon2/power1_input": 40_000_000}))
    assert meter.name == "ina238 (VIN)"
    assert idle_watts(meter, 0.05) == pytest.approx(40.0, rel=0.1)
    meter.close()


def test_no_jetson(tmp_path):
    with pytest.raises(BackendMissing, match="not a Thor"):
        ina238(jetson(tmp_path, []))
    with pytest.raises(BackendMissing, match="not a Jetson"):
        ina3221(jetson(tmp_path, []))


def test_a_sensor_is_integrated_by_trapezoids():
    times, watts = iter([0.0, 1.0, 3.0]), iter([2.0, 4.0, 6.0])
    meter = Sampled("x", lambda: next(watts), 1e6, lambda: next(times))
    assert meter.joules() == pytest.approx(3.0)
    assert meter.joules() == pytest.approx(3.0 + 10.0)
    meter.close()


class FakeNvml:
    class NVMLError(Exception):
        pass

    def __init__(self, supported=True):
        self.millijoules, self.supported, self.open = 5000, supported, False

    def nvmlInit(self):  # noqa: N802
        self.open = True

    def nvmlShutdown(self):  # noqa: N802
        self.open = False

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return index

    def nvmlDeviceGetName(self, card):  # noqa: N802
        return "Fake GPU"

    def nvmlDeviceGetTotalEnergyConsumption(self, card):  # noqa: N802
        if not self.supported:
            raise self.NVMLError("Not Supported")
        return self.millijoules


def test_nvml_reads_the_cards_counter():
    nvml = FakeNvml()
    meter = Nvml(nvml)
    start = meter.joules()
    nvml.millijoules += 2500
    assert (meter.name, meter.joules() - start) == ("nvml (Fake GPU)", 2.5)
    meter.close()
    assert not nvml.open
    with pytest.raises(BackendMissing, match="NVML: Not Supported"):
        Nvml(FakeNvml(supported=False))


class FakeMeter:
    """10 W at rest; every piece of work adds 30 mJ in a tenth of a second."""

    name = "fake"

    def __init__(self):
        self.now, self.extra = 0.0, 0.0

    def joules(self):
        return 10 * self.now + self.extra

    def work(self):
        self.now += 0.1
        self.extra += 0.03


def test_gross_and_net():
    meter = FakeMeter()
    energy = energy_of(meter, meter.work, idle_w=10, seconds=1, clock=lambda: meter.now)
    assert energy.gross_mj == pytest.approx(1030)
    assert energy.net_mj == pytest.approx(30)
    unknown = energy_of(meter, meter.work, seconds=0, clock=lambda: meter.now)
    assert unknown.net_mj is None


def test_a_machine_without_meters_says_why(monkeypatch, tmp_path):
    monkeypatch.setattr("edge_fiqa.measurement.energy.HWMON", tmp_path)
    for device in ("CPU", "cuda"):
        meter, why = find_meter(device)
        if meter is None:
            assert "INA3221" in why
            assert ("NVML" if device == "cuda" else "RAPL") in why
