"""Each mistake is called by its name, and a clean stream by none."""

import cv2
import msgspec
import numpy as np
import pytest

from edge_fiqa.calibration.monitor import LEAST_FACES, WINDOW, Monitor, measure_reference
from edge_fiqa.calibration.reference import Reference


def faces(count, seed):
    """Drawn persons: skin, hair, eyes, nose and mouth where the template wants them."""
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(count):
        tone = rng.uniform(0.6, 1.0)
        face = np.full((112, 112, 3), rng.uniform(60, 160, 3), np.float32)
        skin = [int(v * tone) for v in (225, 170, 140)]
        cv2.ellipse(face, (56, 62), (36, 48), 0, 0, 360, skin, -1)
        cv2.ellipse(face, (56, 14), (38, 18), 0, 0, 360, [50 * tone] * 3, -1)
        for x in (38, 74):
            cv2.ellipse(face, (x, 52), (8, 4), 0, 0, 360, (40, 30, 30), -1)
        cv2.ellipse(face, (56, 72), (5, 8), 0, 0, 360, [int(0.8 * v) for v in skin], -1)
        cv2.ellipse(face, (56, 92), (16, 4), 0, 0, 360, (150, 60, 60), -1)
        moved = np.float32([[1, 0, rng.normal(0, 1.5)], [0, 1, rng.normal(0, 1.5)]])
        face = cv2.warpAffine(face, moved, (112, 112), borderMode=cv2.BORDER_REPLICATE)
        drawn.append(np.clip(face + rng.normal(0, 8, face.shape), 0, 255).astype(np.uint8))
    return np.stack(drawn)


def cut(scale, turn=0.0, shift=0.0):
    def change(face, rng):
        matrix = cv2.getRotationMatrix2D((55.5, 55.5), rng.uniform(-turn, turn), scale)
        matrix[:, 2] += rng.uniform(-shift, shift, 2)
        return cv2.warpAffine(face, matrix, (112, 112), borderMode=cv2.BORDER_REFLECT_101)

    return change


MISTAKES = {
    "colour_order": lambda face, rng: np.ascontiguousarray(face[..., ::-1]),
    "grey": lambda face, rng: np.repeat(face.mean(2, keepdims=True), 3, 2).astype(np.uint8),
    "tight": cut(1.25),
    "loose": cut(0.8),
    "unaligned": cut(1.0, turn=40, shift=20),
    "drift": lambda face, rng: cv2.GaussianBlur(face, (0, 0), 3),
}


@pytest.fixture(scope="module")
def reference():
    return measure_reference(faces(300, seed=0), np.random.default_rng(0).integers(30, 90, 300))


def watch(reference, seen, quality=60):
    monitor = Monitor(reference)
    for face in seen:
        monitor.see(face, quality)
    return monitor


def test_a_clean_stream_is_silent(reference):
    assert watch(reference, faces(200, seed=1)).findings() == []


@pytest.mark.parametrize("code", MISTAKES)
def test_a_mistake_is_called_by_its_name_alone(reference, code):
    rng = np.random.default_rng(2)
    wrong = [MISTAKES[code](face, rng) for face in faces(150, seed=1)]
    found = watch(reference, wrong).findings()
    assert [finding.code for finding in found] == [code]
    assert "\n" not in found[0].message


def test_quality_alone_can_drift(reference):
    (finding,) = watch(reference, faces(150, seed=1), quality=10).findings()
    assert finding.code == "drift"
    assert finding.message.startswith("quality is -")
    assert watch(reference, faces(150, seed=1), quality=None).findings() == []


def test_few_faces_prove_nothing(reference):
    swapped = faces(LEAST_FACES, seed=1)[..., ::-1]
    assert watch(reference, swapped[:-1]).findings() == []
    assert watch(reference, swapped).findings()


def test_merged_is_seen_together(reference):
    seen = faces(240, seed=3)
    one, two, both = (watch(reference, part) for part in (seen[:100], seen[100:], seen))
    one.merge(two)
    assert one.faces == both.faces == 240
    for name, shift in both.shifts().items():
        assert one.shifts()[name] == pytest.approx(shift)


def test_a_camera_that_drifts_after_long_is_noticed(reference, monkeypatch):
    monkeypatch.setattr("edge_fiqa.calibration.monitor.WINDOW", 200)
    assert WINDOW > 200
    monitor = watch(reference, faces(400, seed=4))
    assert monitor.findings() == []
    for face in faces(100, seed=5):
        for _ in range(8):  # one in eight is looked at by then
            monitor.see(cv2.GaussianBlur(face, (0, 0), 3), 60)
    for face in faces(100, seed=6):
        for _ in range(32):
            monitor.see(cv2.GaussianBlur(face, (0, 0), 3), 60)
    assert [finding.code for finding in monitor.findings()] == ["drift"]
    assert monitor.faces == pytest.approx(200, abs=1)


def test_flat_faces_and_files(reference):
    black = np.zeros((150, 112, 112, 3), np.uint8)
    monitor = watch(reference, black)
    assert all(np.isfinite(list(monitor.shifts().values())))
    again = msgspec.json.decode(msgspec.json.encode(reference), type=Reference)
    assert again == reference
    assert sum(reference.histogram) == 300
