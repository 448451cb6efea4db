"""A small ARM64 Debian with the wheels that pip takes there, for qemu-user, which needs no privileges.

`qemu-aarch64 -L PREFIX` looks every path up below PREFIX first. So a prefix is a folder of links to
one unpacked Debian, with a /proc/cpuinfo and a /sys of its own: the libraries read which processor
it is from there, and the real ones would speak of this machine.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from filelock import FileLock

from tests.needs import missing, need

PACKAGES = ("numpy", "openvino", "onnxruntime", "msgspec", "pillow", "platformdirs", "filelock")
TAGS = [f"manylinux_2_{minor}_aarch64" for minor in (35, 34, 31, 28, 27, 17)]
BASE = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
V82 = f"{BASE} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"
V9 = f"{V82} jscvt fcma sve asimdfhm sve2 svei8mm svebf16 i8mm bf16"


@dataclass(frozen=True)
class ArmProcessor:
    """model: qemu's name, with features. midr: the processor's own number. features: of cpuinfo."""

    model: str
    midr: int
    features: str

    @property
    def part(self) -> str:
        return f"{self.midr >> 4 & 0xFFF:#05x}"


ARM = {
    "Cortex-A72 (Raspberry Pi 4; no dot product)": ArmProcessor("cortex-a72", 0x410FD083, BASE),
    "Cortex-A76 (Raspberry Pi 5, near an Orin)": ArmProcessor("cortex-a76", 0x414FD0B1, V82),
    # qemu knows no Neoverse V3AE (Thor): the part number only names it. Its vectors have 128 bits.
    "SVE2, i8mm, bf16 (near a Thor)": ArmProcessor(
        "max,pauth-impdef=on,sme=off,sve256=off", 0x410FD830, V9
    ),
}


def emulated_command(processor: ArmProcessor) -> tuple[list[str], dict[str, str]]:
    """What to put before the arguments of Python, and its environment. Skips where it cannot be."""
    qemu = need("qemu-aarch64", "qemu-aarch64-static", package="qemu-user-static")
    base, python, wheels = _root()
    prefix = _prefix(base, processor)
    paths = f"{wheels}{os.pathsep}{Path(__file__).parents[2]}"
    command = [qemu, "-cpu", processor.model, "-L", str(prefix), str(base / "usr/bin" / python)]
    return command, {"PYTHONPATH": paths, "PATH": "/usr/bin:/bin", "HOME": "/tmp"}


def _root() -> tuple[Path, str, Path]:
    """(the unpacked Debian, the name of its Python, the folder with wheels), made on first use."""
    need("mmdebstrap")
    pinned = [f"{name}=={importlib.metadata.version(name)}" for name in PACKAGES]
    # Without a window: this one needs nothing of the system.
    pinned.append(f"opencv-python-headless=={importlib.metadata.version('opencv-python')}")
    release = platform.freedesktop_os_release()
    suite = release["VERSION_CODENAME"] if release["ID"] == "debian" else "bookworm"
    name = hashlib.sha256(" ".join([suite, *pinned]).encode()).hexdigest()[:16]
    cache = Path(platformdirs.user_cache_dir("edge-fiqa-tests"))
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"arm64-{name}"
    with FileLock(cache / "arm64.lock"):
        if not folder.exists():
            partial = cache / f"arm64-{name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            _run("mmdebstrap", "--quiet", "--variant=extract", "--architectures=arm64",
                 "--include=python3,libstdc++6,zlib1g", suite, str(partial / "debian"))  # fmt: skip
            python = _python(partial / "debian")
            platforms = [option for tag in TAGS for option in ("--platform", tag)]
            _run(sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:",
                 "--implementation=cp", f"--python-version={python.removeprefix('python')}",
                 *platforms, f"--target={partial / 'wheels'}", *pinned)  # fmt: skip
            partial.rename(folder)
    return folder / "debian", _python(folder / "debian"), folder / "wheels"


def _python(debian: Path) -> str:
    """`python3.11`: what its python3 stands for."""
    return (debian / "usr/bin/python3").readlink().name


def _prefix(base: Path, processor: ArmProcessor) -> Path:
    prefix = base.parent / f"as-{processor.model.replace(',', '-')}"
    with FileLock(f"{prefix}.lock"):
        if not prefix.exists():
            partial = Path(f"{prefix}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            for name in ("bin", "etc", "lib", "usr"):  # not /tmp: there are files of this machine
                (partial / name).symlink_to(base / name)
            for name, text in _said_of_itself(processor, os.cpu_count() or 1).items():
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                (partial / name).write_text(text, encoding="ascii")
            partial.rename(prefix)
    return prefix


def _said_of_itself(processor: ArmProcessor, cores: int) -> dict[str, str]:
    """/proc/cpuinfo and the files of /sys that name the processor, as Linux writes them on ARM64."""
    midr = processor.midr
    about = (
        f"BogoMIPS\t: 108.00\nFeatures\t: {processor.features}\n"
        f"CPU implementer\t: {midr >> 24:#04x}\nCPU architecture: 8\n"
        f"CPU variant\t: {midr >> 20 & 0xF:#x}\nCPU part\t: {processor.part}\n"
        f"CPU revision\t: {midr & 0xF}\n\n"
    )
    folder, all_cores = "sys/devices/system/cpu", f"0-{cores - 1}\n" if cores > 1 else "0\n"
    files = {f"{folder}/{name}": all_cores for name in ("possible", "present", "online")}
    files["proc/cpuinfo"] = "".join(f"processor\t: {core}\n{about}" for core in range(cores))
    for core in range(cores):
        files[f"{folder}/cpu{core}/regs/identification/midr_el1"] = f"{midr:#018x}\n"
    return files


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"no ARM64 system could be made: {' '.join(command[:3])}: {done.stderr[-1500:]}")
