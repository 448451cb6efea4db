"""Faces by every library are those of OpenCV's FaceDetectorYN; decoding follows its formulas."""

from importlib.metadata import version

import cv2
import numpy as np
import pytest

from edge_fiqa.engines.detector import NETWORKS, STRIDES, no_yunet, open_network
from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.detector import YuNet
from edge_fiqa.faces.detector_file import find_detector
from edge_fiqa.faces.images import decode
from edge_fiqa.faces.yunet_decoding import decode_faces, padded

SIZES = [(112, 112), (150, 224), (97, 331), (320, 64), (480, 640)]


@pytest.fixture(scope="module", params=["floats", "8 bits"])
def model(request, shared):
    if request.param == "floats":
        return shared / "data/models/yunet_n_640_640.onnx"
    if (file := find_detector()) is None:
        pytest.skip("no detector is installed")
    return file.path


@pytest.fixture(scope="module")
def pictures(shared):
    files = sorted((shared / "data/faces/lfw").glob("A*/0001.jpg"))[:12]
    crops = [decode(file) for file in files]
    alone = [
        cv2.resize(crop, SIZES[number % len(SIZES)][::-1]) for number, crop in enumerate(crops[:10])
    ]
    crowd = np.vstack([np.hstack(crops[:4]), np.hstack(crops[4:8]), np.hstack(crops[8:12])])
    return [*alone, crowd, np.zeros((64, 96, 3), np.uint8), np.full((1, 300, 3), 200, np.uint8)]


def by_opencv(model, picture):
    height, width = picture.shape[:2]
    detector = cv2.FaceDetectorYN.create(str(model), "", (width, height), 0.6)
    _, rows = detector.detect(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if rows is None or (height <= 32 and cv2.__version__.startswith("4.11.")):
        rows = np.zeros((0, 15), np.float32)  # 4.11 makes up faces in a strip
    usable = np.isfinite(rows).all(axis=1) & (rows[:, 2:4] > 0).all(axis=1)
    return sorted(rows[usable], key=lambda row: -row[2] * row[3])


@pytest.mark.parametrize("backend", NETWORKS)
def test_every_library_gives_opencvs_faces(model, backend, pictures):
    if backend == "ort":
        pytest.importorskip("onnxruntime")
    try:
        yunet = YuNet(model, 0.6, backend=backend, threads=1)
    except ConfigError:
        if backend == "ov" and version("openvino").startswith("2025.0"):
            pytest.skip("OpenVINO 2025.0 does not know weights that are quantised in blocks")
        raise
    seen = 0
    for picture in pictures:
        expected, faces = by_opencv(model, picture), yunet.detect(picture)
        assert len(faces) == len(expected)
        for row, face in zip(expected, faces, strict=True):
            np.testing.assert_allclose(face.box, row[:4], atol=0.1)
            np.testing.assert_allclose(face.landmarks, row[4:14].reshape(5, 2), atol=0.1)
            assert face.score == pytest.approx(row[14], abs=1e-3)
        seen += len(faces)
    assert seen >= 15


def test_a_face_is_where_the_formulas_say():
    """One place in a picture of 64x32: column 1, row 2 of stride 8."""
    outputs = {}
    for stride in STRIDES:
        places = (64 // stride) * (32 // stride)
        for name, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            outputs[f"{name}_{stride}"] = np.zeros((places, width), np.float32)
    place = 2 * 8 + 1
    outputs["cls_8"][place], outputs["obj_8"][place] = 1.2, 0.81
    outputs["bbox_8"][place] = 0.5, 0.25, np.log(2), np.log(4)
    outputs["kps_8"][place] = np.arange(10) / 10
    (row,) = decode_faces(outputs, 64, 0.6)
    np.testing.assert_allclose(row[:4], [8 * 1.5 - 8, 8 * 2.25 - 16, 16, 32], rtol=1e-6)
    np.testing.assert_allclose(row[4:14:2], 8 * (1 + np.arange(0, 10, 2) / 10), rtol=1e-6)
    np.testing.assert_allclose(row[5:14:2], 8 * (2 + np.arange(1, 10, 2) / 10), rtol=1e-6)
    assert row[14] == pytest.approx(0.9)


def test_a_picture_is_padded_with_black_to_multiples_of_32():
    picture = np.full((33, 64, 3), 7, np.uint8)
    assert padded(picture).shape == (64, 64, 3)
    assert (padded(picture)[:33] == 7).all()
    assert not padded(picture)[33:].any()
    assert padded(picture[:32]) is not picture
    assert padded(picture[:32]).shape == (32, 64, 3)


@pytest.mark.parametrize("backend", NETWORKS)
def test_a_file_that_is_no_yunet_is_refused(tmp_path, backend):
    if backend == "ort":
        pytest.importorskip("onnxruntime")
    with pytest.raises(ConfigError, match="not a YuNet ONNX model"):
        open_network(tmp_path / "x.onnx", b"rubbish", backend, 1)


def test_an_unknown_backend_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="not one of ov, ort, cv2"):
        open_network(tmp_path / "x.onnx", b"", "trt", 1)


def test_openvinos_compiled_form_is_kept_and_a_damaged_one_is_made_again(
    shared, tmp_path, monkeypatch, pictures, caplog
):
    from edge_fiqa.engines.detector import ov

    monkeypatch.setenv("EDGE_FIQA_CACHE", str(tmp_path))
    model = shared / "data/models/yunet_n_640_640.onnx"
    boxes = []
    for step in ("compiled", "read", "damaged"):
        ov._compiled_form.cache_clear()
        if step == "damaged":
            (kept,) = tmp_path.rglob("*.model")
            kept.write_bytes(kept.read_bytes()[:-70] + b"\0" * 70)
        written = [file.stat().st_mtime_ns for file in tmp_path.rglob("*.model")]
        boxes.append([face.box for face in YuNet(model, 0.6, threads=1).detect(pictures[-3])])
        (kept,) = tmp_path.rglob("*.model")
        assert (written == [kept.stat().st_mtime_ns]) is (step == "read")
    ov._compiled_form.cache_clear()
    assert boxes[0] == boxes[1] == boxes[2]
    assert "it is not used and made again" in caplog.text


def test_an_openvino_that_cannot_run_the_file_gives_way_to_opencv(model, monkeypatch):
    """As 2025.0 with the packaged file; but whoever names a library gets its error."""

    def refuses(model, data, threads):
        raise no_yunet(model, "OpenVINO")

    monkeypatch.setattr("edge_fiqa.engines.detector.ov.DetectorOnOpenVINO", refuses)
    detector = YuNet(model)
    assert detector.backend == "cv2"
    assert detector.detect(np.zeros((64, 64, 3), np.uint8)) == []
    with pytest.raises(ConfigError, match="OpenVINO can run"):
        YuNet(model, backend="ov")
