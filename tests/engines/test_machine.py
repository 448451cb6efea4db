"""What a machine says of itself, from files as a Jetson has them."""

import pytest

from edge_fiqa.engines.machine import Machine, read_machine


@pytest.fixture
def jetson(tmp_path):
    files = {
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit\0",
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n",
        "proc/meminfo": "MemTotal: 7802000 kB\nMemAvailable: 5242880 kB\nSwapTotal: 3901000 kB\n",
        "sys/class/devfreq/17000000.gpu/cur_freq": "612000000\n",
        "sys/class/devfreq/17000000.gpu/min_freq": "306000000\n",
        "sys/class/devfreq/17000000.gpu/max_freq": "624750000\n",
        "sys/class/devfreq/15480000.nvdec/cur_freq": "1\n",
        "var/lib/nvpmodel/status": "pmode:0002 fmode:fanNull",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def nvpmodel(folder, text):
    program = folder / "nvpmodel"
    program.write_text(f"#!/bin/sh\necho '{text}'\n", encoding="utf-8")
    program.chmod(0o755)
    return str(program)


def test_a_jetson(jetson):
    board = read_machine(jetson, nvpmodel(jetson, "NV Power Mode: MAXN_SUPER\n2"))
    assert board == Machine(
        model="NVIDIA Jetson Orin Nano Engineering Reference Developer Kit",
        l4t="36.4.3",
        power_mode="MAXN_SUPER",
        gpu_mhz=(612, 306, 624),
        available_mb=5120,
        total_mb=7619,
        swap_mb=3809,
    )
    assert (board.jetpack.name, board.clocks_fixed) == ("6.2", False)
    assert board.described()["jetpack"] == "6.2"


def test_without_nvpmodel_the_mode_has_a_number(jetson):
    assert read_machine(jetson, str(jetson / "absent")).power_mode == "mode 2"


def test_a_jetson_of_jetpack_7(jetson):
    text = "# R38 (release), REVISION: 2.0, GCID: 1\n"
    (jetson / "etc/nv_tegra_release").write_text(text, encoding="utf-8")
    assert read_machine(jetson, "absent").jetpack.name == "7.0"


def test_clocks_that_were_fixed(jetson):
    (jetson / "sys/class/devfreq/17000000.gpu/min_freq").write_text("624750000", encoding="utf-8")
    assert read_machine(jetson, "absent").clocks_fixed is True


def test_a_machine_that_says_nothing(tmp_path):
    assert read_machine(tmp_path, "absent") == Machine()
    assert Machine().jetpack is None


def test_this_machine():
    assert read_machine().total_mb > 0
