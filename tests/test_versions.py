"""What the documents and the package say of versions is one thing."""

import ast
import re
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
TOOLS = {"httpx2", "hypothesis", "mypy", "psutil", "pytest", "pytest-xdist", "ruff", "uv"} | {
    "duckdb", "flask", "flask-cors", "mkdocs-material", "mutmut",
    "schemathesis", "tensorrt-cu13-bindings",
    "tritonclient", "websockets",
}  # fmt: skip
"""Of the extras `dev`, `docs` and `mutants`: what no user installs."""


def test_every_lowest_version_has_its_reason():
    stated = set(re.findall(r'"([a-z0-9-]+>=[\d.]+)', PROJECT)) - {"setuptools>=77"}
    stated = {floor for floor in stated if floor.split(">=")[0] not in TOOLS}
    page = (ROOT / "docs/installing.md").read_text(encoding="utf-8")
    assert stated == set(re.findall(r"`([a-z0-9-]+>=[\d.]+)`", page))


def test_loadgen_is_only_asked_for_where_it_has_wheels():
    marker = Marker(re.search(r'"mlcommons-loadgen>=[\d.]+; (.+)"', PROJECT)[1])

    def wanted(python, system, machine):
        named = {"python_version": python, "sys_platform": system, "platform_machine": machine}
        return marker.evaluate(named)

    assert wanted("3.12", "linux", "x86_64")
    assert wanted("3.12", "darwin", "arm64")
    assert not wanted("3.12", "linux", "aarch64")
    assert not wanted("3.14", "linux", "x86_64")


def test_the_installed_package_asks_for_one_openvino():
    """Of the two floors, one for ARM and one for the rest, a machine sees exactly one."""
    asked = [Requirement(text) for text in requires("edge-fiqa")]
    plain = [r for r in asked if r.name == "openvino" and "extra" not in str(r.marker)]
    for machine, lowest in (("x86_64", "2025.0"), ("aarch64", "2026.3"), ("arm64", "2026.3")):
        if any(r.marker is None for r in plain):
            pytest.skip("installed from older metadata")
        applying = [r for r in plain if r.marker.evaluate({"platform_machine": machine})]
        assert [str(r.specifier) for r in applying] == [f">={lowest}"]


@pytest.mark.parametrize("folder", ["edge_fiqa", "tests", "benchmarks", "calibration", "examples"])
def test_the_oldest_python_parses_everything(folder):
    assert 'requires-python = ">=3.10"' in PROJECT
    for path in (ROOT / folder).rglob("*.py"):
        ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 10))
