"""Objects that users hold may be shared between threads: results are those of one thread, exactly."""

import ast
import asyncio
import multiprocessing
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import cv2
import matplotlib
import msgspec
import numpy as np
import pytest

from edge_fiqa import Budget, Deadline, FaceReader, Fixed, GateService, Scorer
from edge_fiqa.bundle.bundle import SHIPPED
from edge_fiqa.calibration.audit import Audit
from edge_fiqa.calibration.monitor import Monitor, measure_reference
from edge_fiqa.engines.fake import FakeEngine
from edge_fiqa.errors import ConfigError, EngineFailed
from edge_fiqa.evaluation.recognition import Recogniser
from edge_fiqa.faces.detector import YuNet
from edge_fiqa.faces.images import decode
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.scoring.controller import Controller
from tests.calibrated import calibration_of_numbers, trails
from tests.engines.conftest import in_fork
from tests.engines.test_contract import skipped_without
from tests.scoring import processes

FACES = synthetic_faces(12, seed=3)
THREADS, ROUNDS = 4, 5
PORTRAIT = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"


def on_threads(work, items):
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, items))


def without_ms(record):
    return msgspec.structs.replace(record, cost=msgspec.structs.replace(record.cost, ms=None))


@pytest.fixture(scope="module", params=["ov", "ort", "pt", "trt"])
def backend(request, bundle):
    with skipped_without(request.param):
        Scorer.open(bundle, backend=request.param).close()
    return request.param


@pytest.fixture(scope="module", params=[1, 3], ids=["one engine", "three engines"])
def scorer(request, bundle, backend):
    with Scorer.open(bundle, backend=backend, threads=1, workers=request.param) as opened:
        opened.prepare()
        yield opened


@pytest.fixture(scope="module")
def expected(scorer):
    return [without_ms(scorer.score_face(face)) for face in FACES]


def test_threads_get_the_scores_of_their_faces(scorer, expected):
    records = on_threads(scorer.score_face, list(FACES) * ROUNDS)
    assert [without_ms(record) for record in records] == expected * ROUNDS


def test_asyncio_gets_the_scores_of_its_faces(scorer, expected):
    async def all_at_once():
        calls = (asyncio.to_thread(scorer.score_face, face) for face in list(FACES) * ROUNDS)
        return await asyncio.gather(*calls)

    assert [without_ms(r) for r in asyncio.run(all_at_once())] == expected * ROUNDS


def test_early_exits_and_batches_beside_each_other(scorer):
    policies = [[Fixed(k)] for k in (1, 2, 3, 4)] + [[Budget(gflops=0.004)]]
    kinds = [(FACES[a : a + n], p) for a in (0, 5) for n in (1, 3, 7) for p in policies]
    alone = [scorer.assess(*kind).trail for kind in kinds]
    together = on_threads(lambda kind: scorer.assess(*kind).trail, kinds * 2)
    for one, other in zip(alone * 2, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_forked_child_is_told_and_does_not_hang(scorer):
    said = in_fork(lambda: scorer.score_face(FACES[0]))
    assert "opened before a fork" in said
    assert 'get_context("spawn")' in said
    assert "after the fork" not in said  # OpenVINO would wait there for ever
    assert in_fork(scorer.close) == "None"
    assert scorer.score_face(FACES[0]).quality.code == "ok"


def test_a_child_forked_while_threads_score_does_not_hang(scorer):
    stop = threading.Event()

    def keep_scoring():
        while not stop.is_set():
            scorer.score_face(FACES[0])

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(keep_scoring) for _ in range(2)]
        said = [in_fork(lambda: scorer.score_face(FACES[0])) for _ in range(5)]
        stop.set()
        for each in running:
            each.result()
    assert all("opened before a fork" in each for each in said)


def test_spawned_processes_open_their_own(bundle, backend):
    with Scorer.open(bundle, backend=backend, threads=1) as scorer:
        raw = [scorer.score_face(face).quality.raw for face in FACES]
        with pytest.raises(ConfigError, match="open it in each process"):
            pickle.dumps(scorer)
    with ProcessPoolExecutor(
        1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=processes.open_scorer,
        initargs=(str(bundle.folder), backend),
    ) as pool:
        assert list(pool.map(processes.raw_of, FACES)) == raw


def fake_scorer(bundle, rows, workers=3, **options):
    """Face i is the i-th of `rows`; several engines that know them all."""
    engines = [FakeEngine(rows) for _ in range(workers)]
    return Scorer(bundle, engines, **options), engines[0].faces


def test_a_gate_service_with_audits(bundle):
    rows = trails(200, seed=4)
    scorer, faces = fake_scorer(bundle, rows, gate=60, calibration=calibration_of_numbers())
    alone, shared = (GateService(scorer, audit=Audit(0.02, 0.3, alarm=1e9)) for _ in range(2))
    expected = [without_ms(alone.score_face(face)) for face in faces]
    assert [without_ms(r) for r in on_threads(shared.score_face, faces)] == expected
    assert {record.exit.reason for record in expected} == {"gate", "full", "audit"}
    assert (shared.audit.faces, shared.audit.flips) == (alone.audit.faces, alone.audit.flips)


def test_another_gate_while_threads_score(bundle):
    """Every record is of the one gate or the other: no quality contradicts its decision."""
    rows = trails(100, seed=5)
    scorer, faces = fake_scorer(bundle, rows, gate=20, calibration=calibration_of_numbers())
    stop = threading.Event()

    def change():
        while not stop.is_set():
            scorer.set_gate(90)
            scorer.set_gate(20)

    changing = threading.Thread(target=change)
    changing.start()
    records = on_threads(scorer.score_face, list(faces) * 5)
    stop.set()
    changing.join()
    assert {record.decision.gate for record in records} <= {20, 90}
    for record in records:
        assert record.decision.accepted == (record.quality.scalar >= record.decision.gate)
    assert scorer.monitor is None


def test_closing_waits_for_calls_and_then_refuses(bundle):
    inside, go_on = threading.Event(), threading.Event()

    def wait(segment, faces):
        inside.set()
        assert go_on.wait(100)

    engine = FakeEngine([[1, 2, 3, 4]], on_run=wait)
    scorer = Scorer(bundle, engine)
    with ThreadPoolExecutor(3) as pool:
        scoring = pool.submit(scorer.score_face, engine.faces[0])
        assert inside.wait(100)
        late = pool.submit(scorer.score_face, engine.faces[0])
        closing = pool.submit(scorer.close)
        with pytest.raises(EngineFailed, match="this Scorer is closed"):
            late.result(20)
        assert not closing.done()
        go_on.set()
        assert scoring.result(20).quality.raw == pytest.approx(3)
        closing.result(20)
    scorer.close()
    for call in (
        lambda: scorer.score_face(engine.faces[0]),
        lambda: scorer.score([]),
        lambda: scorer.assess(engine.faces),
        scorer.prepare,
    ):
        with pytest.raises(EngineFailed, match="this Scorer is closed"):
            call()


def test_a_closed_scorer_behind_a_gate_service_refuses(bundle):
    scorer, faces = fake_scorer(bundle, trails(3), gate=60, calibration=calibration_of_numbers())
    service = GateService(scorer)
    scorer.close()
    with pytest.raises(EngineFailed, match="this Scorer is closed"):
        service.score(list(faces))


def test_a_thread_does_not_wait_for_itself(bundle):
    """A signal handler that scores runs in the thread that is scoring already."""
    scorers, refusals = [], []

    def again(segment, faces):
        with pytest.raises(EngineFailed, match="scoring already") as refusal:
            scorers[0].score_face(FACES[0])
        refusals.append(refusal)

    engine = FakeEngine([[1, 2, 3, 4]], on_run=again)
    scorers.append(Scorer(bundle, engine))
    assert scorers[0].score_face(engine.faces[0]).quality.raw == pytest.approx(3)
    assert refusals


def test_waiting_for_a_turn_counts_towards_a_deadline():
    engine = FakeEngine([[1, 2, 3, 4]])
    controller = Controller(engine, clock=lambda: 10.0)
    deadline = [Deadline(5)]
    assert controller.assess(engine.faces, deadline, 9.999).depth == [4]
    late = controller.assess(engine.faces, deadline, 9.990)
    assert (late.depth, late.reason) == ([1], ["deadline"])


def test_workers_share_the_processors(bundle):
    with Scorer.open(bundle, backend="ov", workers=2) as scorer:
        assert scorer.workers == 2
        threads = {controller.engine.threads for controller in scorer._pool.controllers}
        assert len(threads) == 1
        assert threads.pop() >= 1
    with pytest.raises(ConfigError, match="workers"):
        Scorer.open(bundle, workers=0)


def test_a_monitor_counts_every_face():
    reference = measure_reference(FACES, [50] * len(FACES))
    alone, shared = Monitor(reference), Monitor(reference)
    for face in list(FACES) * 20:
        alone.see(face, 40)
    on_threads(lambda face: shared.see(face, 40), list(FACES) * 20)
    assert shared.faces == alone.faces == 240
    assert shared.shifts() == pytest.approx(alone.shifts())
    on_threads(lambda pair: pair[0].merge(pair[1]), [(alone, shared), (shared, alone)] * 5)


def test_an_audit_counts_every_face():
    audit = Audit(0.5, 1.0, alarm=1e300)
    trail = np.ones(4, np.float32)
    on_threads(lambda n: audit.see(trail, n % 2 == 0, f"person {n % 100}"), range(1000))
    assert audit.faces == 100
    assert audit.flips == 50


def test_a_recogniser(recogniser_file):
    recogniser = Recogniser(path=recogniser_file)
    expected = [recogniser.embed(FACES[n : n + 2]) for n in range(10)]
    together = on_threads(lambda n: recogniser.embed(FACES[n : n + 2]), list(range(10)) * 3)
    np.testing.assert_array_equal(together, expected * 3)


def test_a_detector_and_a_reader(shared, tmp_path):
    """Pictures of different sizes: a detector that is shared takes the size of one for another's."""
    model, picture = shared / "data/models/yunet_n_640_640.onnx", decode(PORTRAIT)
    yunet, reader = YuNet(model), FaceReader(model)
    pictures = [picture, picture[:300], picture[:, 40:], np.repeat(picture, 2, axis=0)[:, ::-1]]
    paths = [tmp_path / f"{n}.png" for n in range(len(pictures))]
    for path, pixels in zip(paths, pictures, strict=True):
        cv2.imwrite(str(path), pixels[..., ::-1])

    def detect(image):
        return np.array([(*face.box, face.score) for face in yunet.detect(image)])

    def read(path):
        return [getattr(face, "crop", None) for face in reader.faces_of(path)]

    alone = [detect(image) for image in pictures]
    for boxes, expected in zip(on_threads(detect, pictures * 5), alone * 5, strict=True):
        # OpenCV 4.11 shares the work of one picture differently where others are under way.
        np.testing.assert_allclose(boxes, expected, atol=1e-3)
    for face, again in zip([read(p) for p in paths] * 3, on_threads(read, paths * 3), strict=True):
        np.testing.assert_array_equal(face, again)
    box = ast.literal_eval(in_fork(lambda: yunet.detect(picture)[0].box))
    np.testing.assert_allclose(box, yunet.detect(picture)[0].box, atol=0.01)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_models(name):
    with Scorer.open(name, threads=1, workers=2) as scorer:
        expected = [scorer.score_face(face).quality for face in FACES]
        assert [r.quality for r in on_threads(scorer.score_face, list(FACES) * 2)] == expected * 2
