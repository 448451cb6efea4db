"""Clocks and temperatures, from files as Linux has them."""

from edge_fiqa.bench.conditions import Conditions, read_conditions
from edge_fiqa.bench.environment import environment


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="ascii")


CPU = "sys/devices/system/cpu"


def test_a_board(tmp_path):
    write(
        tmp_path,
        {
            f"{CPU}/cpu0/cpufreq/scaling_cur_freq": "1500000\n",
            f"{CPU}/cpu1/cpufreq/scaling_cur_freq": "2400000\n",
            f"{CPU}/cpu0/cpufreq/scaling_governor": "ondemand\n",
            f"{CPU}/offline": "2-3\n",
            "sys/class/devfreq/17000000.gpu/cur_freq": "612000000\n",
            "sys/class/devfreq/17000000.gpu/min_freq": "306000000\n",
            "sys/class/devfreq/17000000.gpu/max_freq": "624750000\n",
            "sys/class/thermal/thermal_zone0/temp": "48500\n",
            "sys/class/thermal/thermal_zone1/temp": "61250\n",
            "sys/class/thermal/thermal_zone2/temp": "-256000\n",  # a sensor that is off
            "sys/class/thermal/thermal_zone3/temp": "",
        },
    )
    assert read_conditions(tmp_path) == Conditions(1950, 612, 61.2)
    stated = environment(tmp_path)
    assert (stated["cpu_mhz"], stated["temperature_c"], stated["cores_off"]) == (1950, 61.2, "2-3")
    assert stated["governor"] == "ondemand"


def test_a_server_measures_with_a_chip_of_its_own(tmp_path):
    write(
        tmp_path,
        {
            "proc/cpuinfo": "cpu MHz\t\t: 2500.0\ncpu MHz\t\t: 3500.0\n",
            "sys/class/hwmon/hwmon0/name": "nvme\n",
            "sys/class/hwmon/hwmon0/temp1_input": "90000\n",
            "sys/class/hwmon/hwmon1/name": "k10temp\n",
            "sys/class/hwmon/hwmon1/temp1_input": "55000\n",
        },
    )
    assert read_conditions(tmp_path) == Conditions(3000, None, 55.0)


def test_a_machine_that_says_nothing(tmp_path):
    assert read_conditions(tmp_path) == Conditions(None, None, None)
