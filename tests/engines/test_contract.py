"""One contract, every backend, every precision it can run."""

import contextlib
import shutil
import threading

import numpy as np
import pytest
import torch

from edge_fiqa.build.builder import build_bundle
from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.config import BuildRecipe
from edge_fiqa.engines import BACKENDS, open_engine
from edge_fiqa.engines.base import bucket_for
from edge_fiqa.engines.fake import FakeEngine
from edge_fiqa.engines.ort import OnnxRuntime
from edge_fiqa.errors import BackendMissing, BundleError, ConfigError, EngineFailed
from edge_fiqa.exits.route import route_to
from edge_fiqa.measurement.all_exits import all_exits, all_exits_and_causes
from edge_fiqa.model.torch_model import load_vit
from edge_fiqa.types import FaceSet, Segment
from tests.bundle.conftest import edit
from tests.causes import NAMES, logits_of
from tests.needs import missing

ATOL = {"fp32": 1e-5, "fp16": 1e-2, "bf16": 8e-2, "int8": 0.25}
"""Largest difference to float32; of INT8, that of the graph as it is written, whatever computes it."""
TO_GRAPH = 0.05
"""Largest difference of an engine's INT8 to its graph: few values round the other way."""
RUNS = {
    "ov": ("fp32", "fp16", "bf16", "int8"),
    "ort": ("fp32", "fp16", "int8"),
    "pt": ("fp32", "fp16", "bf16"),
    "trt": ("fp32", "fp16", "bf16", "int8"),
    "rtx": ("fp32", "fp16", "bf16", "int8"),
}


def noise(faces):
    return FaceSet(faces, ("noise",) * len(faces), "noise")


INSTALLED = ("ov", "ort", "pt")  # with what the tests need; TensorRT wants a GPU


@contextlib.contextmanager
def skipped_without(backend):
    """Skip where the backend's library is not here; fail in continuous integration, if it can be."""
    try:
        yield
    except BackendMissing as exc:
        (missing if backend in INSTALLED else pytest.skip)(str(exc))


def open_or_skip(bundle, backend, **options):
    with skipped_without(backend):
        return open_engine(bundle, backend, **options)


@pytest.fixture(scope="module")
def reference(tiny, faces):
    x = torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        return load_vit(tiny)(x).numpy()


@pytest.fixture(scope="module", params=[*BACKENDS, "fake"])
def engine(request, bundle, reference):
    if request.param == "fake":
        fake = FakeEngine(reference)
        fake.config = bundle.config
        yield fake
    else:
        with open_or_skip(bundle, request.param, threads=1) as opened:
            yield opened


@pytest.fixture
def images(engine, faces):
    return engine.faces if isinstance(engine, FakeEngine) else faces


def run_route(engine, images, depth, watched):
    x, found = images, []
    for segment in route_to(engine.segments, depth, in_steps=watched):
        x, scores, _ = engine.run(segment, x)
        found.append(scores)
    return np.hstack(found), x


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("watched", [True, False])
def test_every_exit_matches_the_reference(engine, images, reference, depth, watched):
    scores, tokens = run_route(engine, images, depth, watched)
    np.testing.assert_allclose(scores, reference[:, :depth], atol=ATOL["fp32"])
    assert scores.dtype == np.float32
    assert tokens is None  # token mode always ends in a tail


@pytest.mark.parametrize(
    ("backend", "precision"), [(b, p) for b, ps in RUNS.items() for p in ps if p != "fp32"]
)
def test_every_precision_stays_in_its_bounds(
    backend, precision, cause_checkpoint, tiny_causes, faces, reference, tmp_path
):
    """The scores, and the logits of causes."""
    recipe = BuildRecipe(backend=backend, precision=precision)
    with skipped_without(backend):
        built = build_bundle(cause_checkpoint, tmp_path / "b", recipe, faces=noise(faces))
    with open_engine(built, backend) as engine:
        computed = all_exits_and_causes(engine, faces)
    if precision == "int8":
        with OnnxRuntime(built, optimised=False) as literal:
            written = all_exits_and_causes(literal, faces)
        for values, exact in zip(computed, written, strict=True):
            assert np.abs(values - exact).max() < TO_GRAPH
        computed = written
    for values, exact in zip(computed, (reference, logits_of(tiny_causes, faces)), strict=True):
        assert 0 < np.abs(values - exact).max() < ATOL[precision]


@pytest.mark.parametrize("backend", BACKENDS)
def test_crfiqa_mode(backend, tiny_c, faces, tmp_path):
    from safetensors.numpy import save_file

    save_file(dict(tiny_c.arrays), str(tmp_path / "c.safetensors"), {"heads": "2"})
    bundle = build_bundle(tmp_path / "c.safetensors", tmp_path / "b", BuildRecipe(backend="pt"))
    x = torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        expected = load_vit(tiny_c)(x).numpy()
    with open_or_skip(bundle, backend) as engine:
        np.testing.assert_allclose(all_exits(engine, faces), expected, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_causes_behind_every_segment_are_those_of_their_definition(
    backend, cause_bundle, tiny_causes, faces
):
    """Of bodies, tails and whole routes, in a batch that is filled up; each call's are the caller's."""
    expected, outputs = logits_of(tiny_causes, faces), []
    with open_or_skip(cause_bundle, backend, threads=1) as engine:
        assert engine.causes == NAMES
        for rows in (slice(0, 3), slice(3, 6), slice(0, 3)):
            x = faces[rows]
            for exit in range(1, engine.config.depth + 1):
                for first, tail in ((1, True), (exit, True), (exit, False)):
                    given = faces[rows] if first == 1 else x
                    out = engine.run(Segment(first, exit, tail), given)
                    outputs.append((out.causes, expected[rows, exit - 1]))
                x = out.tokens
    for causes, definition in outputs:
        assert causes.dtype == np.float32
        np.testing.assert_allclose(causes, definition, atol=ATOL["fp32"])


def test_without_heads_there_are_no_causes(engine, images):
    assert engine.causes == ()
    assert engine.run(Segment(1, 1), images[:1]).causes is None


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("names", [(), ("yaw", "noise")])
def test_a_manifest_that_names_other_causes_is_refused(
    backend, names, cause_bundle, faces, tmp_path
):
    copy = shutil.copytree(cause_bundle.folder, tmp_path / "copy")
    edit(copy, causes=names)
    refused = pytest.raises((EngineFailed, BundleError), match="rebuild the bundle")
    with refused as caught, open_or_skip(Bundle.open(copy), backend) as engine:
        engine.run(Segment(1, 1), faces[:1])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_manifest_that_names_causes_where_there_are_none_is_refused(
    backend, bundle, faces, tmp_path
):
    copy = shutil.copytree(bundle.folder, tmp_path / "copy")
    edit(copy, causes=NAMES)
    refused = pytest.raises((EngineFailed, BundleError), match="rebuild the bundle")
    with refused, open_or_skip(Bundle.open(copy), backend) as engine:
        engine.run(Segment(1, 1), faces[:1])


def test_a_batch_equals_its_faces_one_by_one(engine, images):
    together, _ = run_route(engine, images[:3], 4, True)
    alone = [run_route(engine, images[i : i + 1], 4, True)[0] for i in range(3)]
    np.testing.assert_allclose(together, np.vstack(alone), atol=1e-5)


def test_keep_selects_and_reorders(engine, images, reference):
    tokens = engine.run(Segment(1, 1), images).tokens
    kept = engine.keep(tokens, np.array([4, 0, 2]))
    assert (kept.faces, kept.block) == (3, 1)
    tokens, scores, _ = engine.run(Segment(2, 2), kept)
    np.testing.assert_allclose(scores[:, 0], reference[[4, 0, 2], 1], atol=1e-5)
    again = engine.keep(tokens, np.array([1]))
    np.testing.assert_allclose(
        engine.run(Segment(3, 3), again)[1][0, 0], reference[0, 2], atol=1e-5
    )


def test_rows_that_are_not_there_are_refused(engine, images):
    tokens = engine.run(Segment(1, 1), images[:3]).tokens  # three, in a batch of four
    for rows in ([3], [-1], [], [0] * (engine.max_batch + 1)):
        with pytest.raises(ConfigError, match=r"kept|rows to keep"):
            engine.keep(tokens, np.array(rows, np.intp))


def test_tokens_may_feed_two_segments(engine, images, reference):
    tokens = engine.run(Segment(1, 1), images[:2]).tokens
    tail = engine.run(Segment(2, 2, tail=True), tokens).scores
    body = engine.run(Segment(2, 2), tokens).scores
    np.testing.assert_allclose(tail, body, atol=1e-5)
    np.testing.assert_allclose(body[:, 0], reference[:2, 1], atol=1e-5)


def test_the_caller_owns_the_scores(engine, images):
    first = engine.run(Segment(1, 1), images[:1]).scores
    kept = first.copy()
    engine.run(Segment(1, 1), images[1:2])
    np.testing.assert_array_equal(first, kept)
    first[:] = 0  # writing into them must not reach the engine
    np.testing.assert_array_equal(engine.run(Segment(1, 1), images[:1])[1], kept)


def test_what_does_not_fit_is_refused(engine, images):
    tokens = engine.run(Segment(1, 1), images[:1]).tokens
    for segment, x in [
        (Segment(2, 2), images),  # images where tokens belong
        (Segment(3, 3), tokens),  # a block left out
        (Segment(1, 1), tokens),  # tokens where images belong
        (Segment(9, 9), tokens),  # no such segment
        (Segment(1, 1), images[:0]),
        (Segment(1, 1), np.repeat(images[:1], engine.max_batch + 1, axis=0)),
        (Segment(1, 1), images.astype(np.float32)),
        (Segment(1, 1), images[:, :96]),
        (Segment(1, 1), images[0]),
    ]:
        with pytest.raises(ConfigError):
            engine.run(segment, x)


def test_preparing_changes_no_score(engine, images, reference):
    engine.prepare([Segment(1, 1), Segment(1, 4, tail=True)], [1, 3, engine.max_batch + 1])
    engine.prepare([], [])
    scores, _ = run_route(engine, images[:3], 4, True)
    np.testing.assert_allclose(scores, reference[:3], atol=ATOL["fp32"])


def test_what_was_released_runs_again(engine, images, reference):
    first, *_, last = route_to(engine.segments, engine.config.depth, in_steps=True)
    before, scores, _ = engine.run(first, images)
    engine.release(engine.segments)
    with contextlib.suppress(
        EngineFailed
    ):  # a backend that frees them says so; another still has them
        engine.run(next(s for s in engine.segments if s.first == first.last + 1), before)
    engine.release([last])  # it was not loaded
    np.testing.assert_array_equal(engine.run(first, images)[1], scores)
    np.testing.assert_allclose(
        all_exits(engine, images), reference[: len(images)], atol=ATOL["fp32"]
    )


def test_tokens_of_a_released_segment_are_gone(bundle, faces):
    for backend in ("ov", "ort"):
        with open_or_skip(bundle, backend, threads=1) as engine:
            tokens = engine.run(Segment(1, 1), faces[:2]).tokens
            engine.release([Segment(1, 1)])
            with pytest.raises(EngineFailed, match="overwritten"):
                engine.run(Segment(2, 2), tokens)


def test_a_view_of_the_images_is_fine(engine, images, reference):
    if isinstance(engine, FakeEngine):
        pytest.skip("the fake reads row numbers, not pixels")
    reversed_columns = np.ascontiguousarray(images[:, :, ::-1])[:, :, ::-1]
    scores = engine.run(Segment(1, 1), reversed_columns)[1]
    np.testing.assert_allclose(scores[:, 0], reference[:, 0], atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_engines_work_at_the_same_time(backend, bundle, faces, reference):
    open_or_skip(bundle, backend).close()
    results = {}

    def work(name):
        with open_or_skip(bundle, backend, threads=1) as engine:
            results[name] = [all_exits(engine, faces) for _ in range(3)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for found in (scores for result in results.values() for scores in result):
        np.testing.assert_allclose(found, reference, atol=1e-5)
    assert len(results) == 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_closing_twice(backend, bundle):
    engine = open_or_skip(bundle, backend)
    engine.close()
    engine.close()


def test_refused_at_the_door(bundle, checkpoint, faces, tmp_path):
    with pytest.raises(ConfigError, match="backend 'tpu' is not one of ov, ort, pt"):
        open_engine(bundle, "tpu")
    with pytest.raises(ConfigError, match="threads"):
        open_engine(bundle, "ov", threads=0)
    int8 = BuildRecipe(backend="ort", precision="int8")
    int8_bundle = build_bundle(checkpoint, tmp_path / "i", int8, faces=noise(faces))
    with pytest.raises(ConfigError, match="torch engine runs fp32"):
        open_engine(int8_bundle, "pt")
    plain = build_bundle(checkpoint, tmp_path / "f", BuildRecipe(backend="ort"))
    with pytest.raises(BundleError, match="carries no float weights"):
        open_engine(plain, "pt")
    bf16 = build_bundle(checkpoint, tmp_path / "h", BuildRecipe(backend="ov", precision="bf16"))
    with pytest.raises(BackendMissing, match="no bfloat16 kernels"):
        open_engine(bf16, "ort")


def test_buckets_are_powers_of_two():
    assert [bucket_for(n, 64) for n in (1, 2, 3, 4, 5, 33, 64)] == [1, 2, 4, 4, 8, 64, 64]
    assert bucket_for(5, 6) == 6
