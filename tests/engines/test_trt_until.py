"""Exits decided on the device, on a made-up GPU: the host's results, or a refusal and the host."""

import ctypes
import importlib.util
import json
import logging
import shutil
import subprocess
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from edge_fiqa import Scorer
from edge_fiqa.build import build_bundle
from edge_fiqa.calibration.artefact import Depth, Rule
from edge_fiqa.calibration.estimate import Estimator
from edge_fiqa.calibration.monotone import Line
from edge_fiqa.calibration.scale import Sigmoid
from edge_fiqa.config import BuildRecipe, PlanOptions
from edge_fiqa.controller import Controller
from edge_fiqa.engines import open_engine
from edge_fiqa.errors import ConfigError
from edge_fiqa.exit_table import ExitTable
from edge_fiqa.fusion import fuse
from edge_fiqa.gate import Gate
from edge_fiqa.measure import all_exits
from edge_fiqa.policy import Convergence, Fixed
from edge_fiqa.types import Segment

from .conftest import with_options


@pytest.fixture(scope="module")
def trail(bundle, faces):
    with open_engine(bundle, "ort") as engine:
        return all_exits(engine, faces)


@pytest.fixture(scope="module")
def device_bundle(bundle, tmp_path_factory):
    return with_options(bundle, tmp_path_factory.mktemp("device"), exit_on="device")


def gate_at(line, *spreads):
    """Estimate = fused score; certain where it lies more than the depth's spread from the line."""
    ends = (-1e3, 1e3)
    depths = tuple(Depth(Line(ends, ends), Line(ends, (s, s)), -1, 1) for s in (*spreads, 0.0))
    estimator = Estimator(Rule(Sigmoid(float(line), 1e-6), depths, ()))
    return Gate(estimator, (1, 2, 3, 4), "FW", 50, 1.0, 0.05, 0.95)


def gates(trail):
    """All faces stop at the first exit; at the last; half of those that are left at each."""
    fused = [fuse(trail, depth) for depth in (1, 2, 3, 4)]
    line = np.median(fused[3]) + 1e-3
    halves, left = [], np.arange(len(trail))
    for scores in fused[:3]:
        away = np.abs(scores[left] - line)
        halves.append(float(np.median(away)))
        left = left[away <= halves[-1]]
    return gate_at(line, 0, 0, 0), gate_at(line, 9, 9, 9), gate_at(line, *halves)


def assess(engine, faces, gate):
    controller = Controller(engine, estimator=gate.estimator)
    return controller.assess(faces, [Fixed(), gate])


def same(found, expected):
    assert found.depth.tolist() == expected.depth.tolist()
    assert found.reason == expected.reason
    np.testing.assert_allclose(found.trail, expected.trail, atol=1e-5)
    np.testing.assert_allclose(found.score, expected.score, atol=1e-5)


def test_what_the_host_would_have_found(gpu, bundle, device_bundle, faces, trail):
    depths = set()
    with open_engine(bundle, "ort") as host, open_engine(device_bundle, "trt") as engine:
        for gate in gates(trail):
            for count in (1, 3, len(faces)):
                expected = assess(host, faces[:count], gate)
                same(assess(engine, faces[:count], gate), expected)
                depths |= set(expected.depth.tolist())
        assert engine.run_ahead is not None
        gpu.events.clear()
        assess(engine, faces, gates(trail)[2])
        assert gpu.events == ["until"]  # one launch, and nothing else
    assert depths == {1, 2, 3, 4}
    assert gpu.graphs == {}


def test_a_repeated_pass_allocates_nothing(gpu, device_bundle, faces, trail):
    gate = gates(trail)[2]
    with open_engine(device_bundle, "trt") as engine:
        assess(engine, faces, gate)
        before = gpu.used(), len(gpu.graphs)
        for _ in range(3):
            assess(engine, faces, gate)
        assert (gpu.used(), len(gpu.graphs)) == before


def test_padding_decides_nothing(one_version, device_bundle, faces, trail):
    """The bucket of 4 holds a face of the batch before, which would go on."""
    one_version()
    first = fuse(trail, 1)
    late = int(np.argmin(first))
    gate = gate_at(first[late], 1e-3, 0, 0)
    others = [row for row in range(len(faces)) if row != late][:3]
    with open_engine(device_bundle, "trt") as engine:
        four = assess(engine, faces[[*others, late]], gate)
        assert four.depth[3] > 1
        three = assess(engine, faces[others], gate)
        assert three.depth.tolist() == four.depth[:3].tolist()


def test_a_set_gate_needs_no_new_graph(one_version, device_bundle, faces, trail):
    world = one_version()
    with open_engine(device_bundle, "trt") as engine:
        first = assess(engine, faces, gates(trail)[0])
        world.events.clear()
        second = assess(engine, faces, gates(trail)[1])
        assert world.events == ["until"]
    assert first.depth.tolist() == [1] * len(faces)
    assert second.depth.tolist() == [4] * len(faces)


def test_memory_that_moved_makes_new_graphs(one_version, device_bundle, faces, trail):
    one_version()
    gate = gates(trail)[2]
    with open_engine(device_bundle, "trt") as engine, open_engine(device_bundle, "ort") as host:
        small = assess(host, faces[:1], gate)
        same(assess(engine, faces[:1], gate), small)
        assess(engine, faces, gate)  # larger segments: the scratch memory moves
        same(assess(engine, faces[:1], gate), small)


def test_other_policies_ask_the_host(one_version, device_bundle, faces):
    world = one_version()
    with open_engine(device_bundle, "trt") as engine:
        Controller(engine).assess(faces, [Convergence()])
        assert "until" not in world.events


def test_without_the_flag_nothing_is_new(gpu, bundle, faces, trail):
    with open_engine(bundle, "trt") as engine:
        assert engine.run_ahead is None
        assess(engine, faces, gates(trail)[2])
    assert not {"until", "decide"} & set(gpu.events)


def test_plans_are_the_same_with_and_without(
    one_version,
    device_bundle,
    faces,
    trail,
    tmp_path,
):
    world = one_version()
    options = {"on_mismatch": "refuse", "exit_on": "host"}
    for bundle in (device_bundle, with_options(device_bundle, tmp_path, **options)):
        world.events.clear()
        with open_engine(bundle, "trt") as engine:
            assess(engine, faces, gates(trail)[1])
    assert "enqueue" in world.events
    assert "build" not in world.events


def test_warming_makes_the_graph(one_version, device_bundle, faces, trail):
    world = one_version()
    gate = gates(trail)[2]
    with open_engine(device_bundle, "trt") as engine:
        Controller(engine, estimator=gate.estimator).prepare([gate], batch=1)
        world.events.clear()
        assess(engine, faces[:1], gate)
        assert world.events == ["until"]


@pytest.mark.parametrize(
    ("conditional", "said"),
    [
        ("old", "need a driver of CUDA 12.4"),
        ("unlinked", "does not take the kernel decide.ptx"),
        ("node", "cuGraphAddNode_v2 failed with CUDA error 801"),
        ("instantiate", "takes these kernels into no conditional CUDA graph"),
        ("launch", "could not be launched"),
        ("always", "told to stop after 1 segments, the graph ran 4"),
        ("never", "told to stop after 2 segments, the graph ran 1"),
    ],
)
def test_refused_once_and_for_good(
    one_version,
    bundle,
    device_bundle,
    faces,
    trail,
    caplog,
    conditional,
    said,
):
    world = one_version(conditional=conditional)
    caplog.set_level(logging.WARNING, "edge_fiqa.tensorrt")
    gate = gates(trail)[2]
    with open_engine(bundle, "ort") as host, open_engine(device_bundle, "trt") as engine:
        expected = assess(host, faces, gate)
        for _ in range(4):
            same(assess(engine, faces, gate), expected)
        assert engine.run_ahead is None
    assert len(caplog.messages) == 1
    assert said in caplog.messages[0]
    assert world.graphs == {}
    assert world.complaints == []
    assert world.used() == 0


def test_a_capture_that_breaks(
    one_version,
    device_bundle,
    faces,
    trail,
    caplog,
):
    """What it went into is not destroyed: the driver may have done so."""
    world = one_version(conditional="invalidated")
    with open_engine(device_bundle, "trt") as engine, open_engine(device_bundle, "ort") as host:
        gate = gates(trail)[2]
        same(assess(engine, faces, gate), assess(host, faces, gate))
        assert engine.run_ahead is None
    assert "cuStreamEndCapture failed with CUDA error 901" in caplog.text
    assert len(world.graphs) == 1


def test_segments_that_cannot_be_captured(
    one_version,
    device_bundle,
    faces,
    trail,
    caplog,
):
    world = one_version(capturable=False)
    with open_engine(device_bundle, "trt") as engine, open_engine(device_bundle, "ort") as host:
        gate = gates(trail)[2]
        same(assess(engine, faces, gate), assess(host, faces, gate))
    assert "cannot be captured into a conditional CUDA graph" in caplog.text
    assert world.used() == 0


@pytest.mark.parametrize("options", [{"integrated": True}, {"sm": (11, 0), "cuda": 13000}])
def test_other_machines(one_version, device_bundle, faces, trail, options):
    world = one_version(**options)
    gate = gates(trail)[2]
    with open_engine(device_bundle, "trt") as engine, open_engine(device_bundle, "ort") as host:
        same(assess(engine, faces, gate), assess(host, faces, gate))
        assert engine.run_ahead is not None
    assert world.complaints == []


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_the_host_goes_on_where_the_device_stopped(
    one_version,
    device_bundle,
    faces,
    trail,
    stop,
):
    """The contract of what is handed over: scores of what ran, tokens behind the last of it."""
    one_version()
    steps = [Segment(1, 1), Segment(2, 2), Segment(3, 3), Segment(4, 4, tail=True)]
    low = np.where(np.arange(3) == stop - 1, np.inf, -np.inf).astype(np.float32)
    high = np.full(3, np.inf, np.float32)
    table = ExitTable((1, 2, 3), np.ones((3, 4), np.float32), low, high)
    with open_engine(device_bundle, "trt") as engine:
        for _ in range(2):
            ran = engine.run_ahead(steps, table, faces)
            assert [tokens is None for tokens, _ in ran] == [True] * (stop - 1) + [False]
            scores = np.hstack([found for _, found in ran])
            np.testing.assert_allclose(scores, trail[:, :stop], atol=1e-5)
            _, following = engine.run(steps[stop], ran[-1][0])
            np.testing.assert_allclose(following[:, 0], trail[:, stop], atol=1e-5)
            kept = engine.keep(ran[-1][0], np.array([4, 1]))
            _, following = engine.run(steps[stop], kept)
            np.testing.assert_allclose(following[:, 0], trail[[4, 1], stop], atol=1e-5)
        with pytest.raises(ConfigError, match="a batch holds 1 to 16 faces"):
            engine.run_ahead(steps, table, np.zeros((17, 112, 112, 3), np.uint8))


def test_segments_of_several_blocks(
    one_version,
    checkpoint,
    face_set,
    faces,
    tmp_path,
):
    """Calibrated, as a user has it: one decision, behind two exits of one segment."""
    world = one_version()
    recipe = BuildRecipe(
        backend="trt", segments="2,4", plans=PlanOptions(exit_on="device", batches=(1, 8))
    )
    built = build_bundle(checkpoint, tmp_path / "b", recipe, faces=face_set)
    for gate in (20, 50, 80):
        found = []
        for backend in ("ort", "trt"):
            with Scorer.open(built, backend=backend, gate=gate) as scorer:
                policy = replace(scorer.gate_policy(), margin=0.5)
                found.append(scorer.assess(faces, [Fixed(), policy]))
        same(found[1], found[0])
    assert "until" in world.events


def planted(kind):
    """Conditionals with one mistake each, and what the made-up driver says to it."""

    class Shared(kind):
        def _handle(self, graph):
            self.first = getattr(self, "first", None) or super()._handle(graph)
            return self.first

    class Halved(kind):
        def _handle(self, graph):
            return super()._handle(graph) & 0xFFFFFFFF

    class Loose(kind):
        def _leaves(self):
            return []

    class Flat(kind):
        def _add_if(self, graph, handle, leaves):
            super()._add_if(graph, handle, leaves)
            return graph

    refused = "cuGraphAddNode_v2 failed with CUDA error 1"
    return [
        (Shared, refused),
        (Halved, refused),
        (Loose, "behind the kernel that sets it"),
        (Flat, "would run beside"),
    ]


@pytest.mark.parametrize("number", range(4))
def test_the_fake_driver_finds_planted_mistakes(
    one_version,
    device_bundle,
    faces,
    trail,
    monkeypatch,
    caplog,
    number,
):
    world = one_version()
    trt_until = import_module("edge_fiqa.engines.trt_until")  # the one that the engine will find
    kind, said = planted(trt_until.Conditionals)[number]
    monkeypatch.setattr(trt_until, "Conditionals", kind)
    with open_engine(device_bundle, "trt") as engine:
        if said.startswith("cu"):
            caplog.set_level(logging.WARNING, "edge_fiqa.tensorrt")
            assess(engine, faces, gates(trail)[2])
            assert said in caplog.text
        else:
            with pytest.raises(AssertionError, match=said):
                assess(engine, faces, gates(trail)[2])
    assert "until" not in world.events


def test_device_exits_need_graphs():
    with pytest.raises(ValueError, match="exit_on: device needs graphs: true"):
        PlanOptions(exit_on="device", graphs=False)


# ---- the benchmark, rehearsed


def benchmark():
    path = Path(__file__).parents[2] / "benchmarks/device_exit.py"
    spec = importlib.util.spec_from_file_location("device_exit", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_benchmark_compares_host_and_device(one_version, bundle, tmp_path, capsys):
    one_version()
    output = tmp_path / "found.json"
    arguments = ["--bundle", str(bundle.folder), "--count", "8"]
    arguments += ["--batch", "1", "4", "--rounds", "2"]
    benchmark().main([*arguments, "-o", str(output)])
    found = json.loads(output.read_text(encoding="utf-8"))
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == found
    assert [row["batch"] for row in found["rows"]] == [1, 4] * 3
    assert all(row["same_exits"] for row in found["rows"])
    assert all(row["largest_difference"] < 1e-5 for row in found["rows"])
    assert all(row["host_ms"] > 0 and row["device_ms"] > 0 for row in found["rows"])
    first, half, none = (found["rows"][i]["mean_exit"] for i in (0, 2, 4))
    assert first == 1
    assert 1 < half < none == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [({"devices": 0}, "needs an NVIDIA driver"), ({"conditional": "node"}, "way was refused")],
)
def test_the_benchmark_ends_with_one_line(one_version, bundle, options, said):
    one_version(**options)
    with pytest.raises(SystemExit, match=f"device_exit: .*{said}"):
        benchmark().main(["--bundle", str(bundle.folder), "--batch", "1", "--rounds", "1"])


# ---- the driver's structs and functions, from its own header


def headers():
    """cuda.h of every toolkit and wheel that is here, 12.4 or later."""
    found = [Path("/usr/local/cuda/include/cuda.h")]
    if (nvcc := shutil.which("nvcc")) is not None:
        said = subprocess.run(
            [nvcc, "--dryrun", "-x", "cu", "/dev/null"], capture_output=True, text=True, check=False
        )
        tops = [
            line.split("=", 1)[1] for line in said.stderr.splitlines() if line.startswith("#$ TOP=")
        ]
        found += [Path(top) / "include/cuda.h" for top in tops]
    try:
        import nvidia

        for folder in nvidia.__path__:
            found += Path(folder).glob("*/include/cuda.h")
    except ImportError:
        pass
    return sorted({path.resolve() for path in found if path.is_file()})


CHECK = """
#define __CUDA_API_VERSION_INTERNAL  // each name as it is exported
#include <cstddef>
#include <cstdio>
#include <type_traits>
#include <cuda.h>
template <class Result, class... Arguments> void show(const char* name, Result (*)(Arguments...)) {
    printf("%s", name);
    const int sizes[] = {(std::is_pointer<Arguments>::value ? -1 : (int)sizeof(Arguments))...};
    for (int size : sizes) printf(" %d", size);
    printf("\\n");
}
#define AT(kind, name) printf(#name " %zu\\n", offsetof(kind, name))
int main() {
    AT(CUgraphNodeParams, type);
    AT(CUgraphNodeParams, reserved0);
    AT(CUgraphNodeParams, conditional);
    AT(CUgraphNodeParams, reserved2);
    AT(CUDA_CONDITIONAL_NODE_PARAMS, handle);
    AT(CUDA_CONDITIONAL_NODE_PARAMS, type);
    AT(CUDA_CONDITIONAL_NODE_PARAMS, size);
    AT(CUDA_CONDITIONAL_NODE_PARAMS, phGraph_out);
    AT(CUDA_CONDITIONAL_NODE_PARAMS, ctx);
    printf("%zu %d %d %d %d\\n", sizeof(CUgraphNodeParams), CU_GRAPH_NODE_TYPE_CONDITIONAL,
           CU_GRAPH_COND_TYPE_IF, CU_GRAPH_COND_ASSIGN_DEFAULT, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    CALLS
}
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_structs_and_functions_are_those_of_the_header(one_version, tmp_path):
    one_version()
    from edge_fiqa.engines import trt_conditional as mine
    from edge_fiqa.engines import trt_graph

    if not (known := headers()):
        pytest.skip("no cuda.h here (pip install nvidia-cuda-runtime brings one)")
    outer, inner = mine.NodeParams, mine.ConditionalParams
    expected = [f"{name} {getattr(outer, name).offset}" for name in ("type", "reserved0")]
    expected += [f"conditional {outer.params.offset}", f"reserved2 {outer.reserved2.offset}"]
    expected += [f"{name} {getattr(inner, name).offset}" for name, _ in inner._fields_]
    numbers = (mine.CONDITIONAL, mine.IF, mine.ASSIGN_DEFAULT, trt_graph.THREAD_LOCAL)
    expected.append(" ".join(map(str, (ctypes.sizeof(outer), *numbers))))
    prototypes = {**trt_graph.PROTOTYPES, **mine.PROTOTYPES}
    for name, types in prototypes.items():
        expected.append(" ".join([name, *(str(size_of(kind)) for kind in types)]))

    calls = "\n".join(f'show("{name}", &{name});' for name in prototypes)
    (tmp_path / "check.cpp").write_text(CHECK.replace("CALLS", calls), encoding="utf-8")
    driver = "".join(f'extern "C" void {name}() {{}}\n' for name in prototypes)
    (tmp_path / "driver.cpp").write_text(driver, encoding="utf-8")
    for header in known:
        binary = str(tmp_path / "check")
        sources = [str(tmp_path / name) for name in ("check.cpp", "driver.cpp")]
        subprocess.run(["g++", f"-I{header.parent}", *sources, "-o", binary], check=True)
        assert subprocess.check_output([binary], text=True).splitlines() == expected, header


def size_of(kind):
    """-1 for a pointer."""
    pointer = kind is ctypes.c_void_p or hasattr(kind, "contents")
    return -1 if pointer else ctypes.sizeof(kind)
