"""From paths to faces: what is found, what is passed on, what is refused."""

import io
import os
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from edge_fiqa.cli.demo import LANDMARKS
from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.align import align
from edge_fiqa.faces.landmarks import Landmarks
from edge_fiqa.faces.paths import PassedOver, expand
from edge_fiqa.faces.sources import FaceCrop, FaceReader, RefusedFace
from tests.published import ARCFACE


def found(*inputs, stdin=""):
    return [str(path) for path in expand(map(str, inputs), io.StringIO(stdin))]


def save(path, size=(112, 112), colour=(255, 0, 0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def test_folders_are_walked_in_order(tmp_path):
    for name in (
        "b/2.png",
        "b/10.png",
        "a/x.JPG",
        "c.jpeg",
        "notes.txt",
        ".hidden/z.png",
        ".z.png",
    ):
        save(tmp_path / name) if "txt" not in name else (tmp_path / name).write_text(
            "", encoding="utf-8"
        )
    relative = [Path(p).relative_to(tmp_path).as_posix() for p in found(tmp_path)]
    assert relative == ["a/x.JPG", "b/10.png", "b/2.png", "c.jpeg"]


def test_each_path_once_and_absent_ones_too(tmp_path):
    a = save(tmp_path / "a.png")
    absent = tmp_path / "absent.png"
    assert found(a, tmp_path, absent, a) == [str(a), str(absent)]


def test_a_list_on_standard_input(tmp_path):
    a, b = save(tmp_path / "a b.png"), save(tmp_path / "ü.png")
    assert found("-", stdin=f"{a}\r\n\n{b}") == [str(a), str(b)]


def test_folders_that_lead_in_a_circle(tmp_path):
    save(tmp_path / "a.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert found(tmp_path) == [str(tmp_path / "a.png")]


@pytest.mark.parametrize("name", ["loop.jpg", "loop"])
def test_a_link_to_itself_costs_no_other_image(tmp_path, name):
    save(tmp_path / "a.png")
    save(tmp_path / "z.png")
    (tmp_path / name).symlink_to(name)
    others = [Path(path).name for path in found(tmp_path) if Path(path).stem != "loop"]
    assert others == ["a.png", "z.png"]
    if name == "loop.jpg":  # an image by its name: its record says what it is
        assert str(tmp_path / name) in found(tmp_path)
        (face,) = FaceReader().faces_of(tmp_path / name)
        assert (face.code, "symbolic links" in face.reason) == ("unreadable", True)


def test_linked_folders_are_followed_once(tmp_path):
    save(tmp_path / "elsewhere/a.png")
    (tmp_path / "photos").mkdir()
    for name in ("one", "two"):
        (tmp_path / "photos" / name).symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path / "photos") == [str(tmp_path / "photos/one/a.png")]


def test_images_are_known_by_suffix_or_by_their_bytes_and_the_rest_is_counted(tmp_path):
    save(tmp_path / "a.png")
    for name in ("b.jpe", "c.JFIF", "d.mpo", "e.heic", "f.avif", "g.cr2", ".h.png", "i.txt", "j"):
        (tmp_path / name).write_bytes(b"BM or no image")
    (tmp_path / "k").write_bytes((tmp_path / "a.png").read_bytes())
    (tmp_path / "l.txt").write_bytes(b"text")
    os.mkfifo(tmp_path / "m.pipe")
    passed_over = PassedOver()
    paths = expand([str(tmp_path)], io.StringIO(), passed_over)
    assert "".join(path.name[0] for path in paths) == "abcdefgk"
    assert passed_over.suffixes == {"hidden": 1, ".txt": 2, "without suffix": 1, ".pipe": 1}


def test_what_looks_like_an_image_and_cannot_be_read_says_what_to_do(tmp_path):
    (tmp_path / "a.cr2").write_bytes(b"raw")
    (face,) = FaceReader().faces_of(tmp_path / "a.cr2")
    assert face.code == "unreadable"
    assert "convert it to JPEG or PNG" in face.reason


def test_expansion_is_lazy(tmp_path):
    save(tmp_path / "a.png")

    def inputs():
        yield str(tmp_path)
        raise AssertionError("asked too early")

    assert next(iter(expand(inputs(), io.StringIO())))


def test_the_red_face_stays_red(tmp_path):
    (face,) = FaceReader().faces_of(save(tmp_path / "red.png"))
    assert isinstance(face, FaceCrop)
    assert (face.id, face.source) == (f"{tmp_path}/red.png#0", f"{tmp_path}/red.png")
    assert face.crop.shape == (112, 112, 3)
    assert (face.crop[..., 0] == 255).all()
    assert not face.crop[..., 1:].any()


def test_another_square_size_is_resized_and_says_so(tmp_path):
    (face,) = FaceReader().faces_of(save(tmp_path / "a.png", (224, 224)))
    assert face.crop.shape == (112, 112, 3)
    assert face.warnings == ("resized from 224x224",)


def test_a_path_may_be_a_string(tmp_path):
    path = save(tmp_path / "a.png")
    (face,), (same,) = FaceReader().faces_of(str(path)), FaceReader().faces_of(path)
    np.testing.assert_array_equal(face.crop, same.crop)
    assert (face.id, face.source) == (same.id, same.source)
    for other in (None, 3, np.zeros((112, 112, 3), np.uint8), b"a.png"):
        with pytest.raises(ConfigError, match="named by its path, not by a"):
            FaceReader().faces_of(other)


def test_a_detector_may_be_a_string(shared):
    portrait = str(Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg")
    (face,) = FaceReader(str(shared / "data/models/yunet_n_640_640.onnx")).faces_of(portrait)
    assert face.box is not None


def test_what_is_no_detector_or_no_landmarks_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        FaceReader(str(tmp_path / "absent.onnx"))
    with pytest.raises(ConfigError, match="path of a YuNet or a PhotoDetector, not a int"):
        FaceReader(3)
    with pytest.raises(ConfigError, match="what read_landmarks gives, not a str"):
        FaceReader(landmarks="points.csv")


class TestCropsOfAnotherSize:
    """With a detector: a square that is an aligned crop already says so, a photograph does not."""

    NOTE = "looks like an aligned crop of another size; --aligned takes it as such"

    @pytest.mark.parametrize("side", [160, 224, 448])
    def test_a_crop(self, shared, tmp_path, side):
        portrait = Image.open(Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg")
        crop = Image.fromarray(align(np.asarray(portrait), LANDMARKS))
        crop.resize((side, side), Image.Resampling.BICUBIC).save(tmp_path / "a.png")
        reader = FaceReader(shared / "data/models/yunet_n_640_640.onnx", crops_pass=True)
        (face,) = reader.faces_of(tmp_path / "a.png")
        assert face.warnings == (self.NOTE,)
        crop.save(tmp_path / "b.png")
        (face,) = reader.faces_of(tmp_path / "b.png")
        assert face.warnings == ()

    @pytest.mark.parametrize("turn", [0, 30, 330])
    def test_a_square_photograph(self, shared, tmp_path, turn):
        portrait = Image.open(Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg")
        scene = Image.new("RGB", (800, 800), "grey")
        scene.paste(portrait, (144, 100))
        scene.rotate(turn).save(tmp_path / "a.png")
        reader = FaceReader(shared / "data/models/yunet_n_640_640.onnx", crops_pass=True)
        (face,) = reader.faces_of(tmp_path / "a.png")
        assert face.warnings == ()


def test_no_face_in_a_large_picture_names_the_size_of_the_detector(shared, tmp_path):
    reader = FaceReader(shared / "data/models/yunet_n_640_640.onnx")
    (large,) = reader.faces_of(save(tmp_path / "a.png", (2000, 1500), (128, 128, 128)))
    (small,) = reader.faces_of(save(tmp_path / "b.png", (600, 500), (128, 128, 128)))
    assert (large.code, small.code) == ("no_face", "no_face")
    assert "2000x1500 pixels searched at 640" in large.reason
    assert "--detector-size" in large.reason
    assert "--detector-size" not in small.reason


@pytest.mark.parametrize("size", [(640, 480), (79, 79), (112, 113), (1, 1)])
def test_what_is_no_crop_says_what_to_do(tmp_path, size):
    (face,) = FaceReader().faces_of(save(tmp_path / "a.png", size))
    assert isinstance(face, RefusedFace)
    assert face.code == "no_face"
    assert f"{size[0]}x{size[1]}" in face.reason
    assert "--detector" in face.reason


def test_unreadable_files_are_refused_not_raised(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    for path in (tmp_path / "a.jpg", tmp_path / "absent.jpg", tmp_path):
        (face,) = FaceReader().faces_of(path)
        assert (face.code, face.source) == ("unreadable", str(path))


def test_landmarks_give_every_face_its_own_result(tmp_path):
    image = save(tmp_path / "group.png", (400, 300))
    good, small = 2 * ARCFACE + 10, ARCFACE / 5
    faces = {str(image): [tuple(map(tuple, points)) for points in (good, small, good * 0 + 3)]}
    reader = FaceReader(landmarks=Landmarks(tmp_path / "l.json", faces))
    one, two, three = reader.faces_of(image)
    assert isinstance(one, FaceCrop)
    np.testing.assert_allclose(one.landmarks, good)
    assert (one.crop[40:80, 40:80] == (255, 0, 0)).all()
    assert (two.code, three.code) == ("too_small", "no_face")
    assert [f.id[-2:] for f in (one, two, three)] == ["#0", "#1", "#2"]
    (unknown,) = reader.faces_of(save(tmp_path / "other.png"))
    assert unknown.code == "no_face"
    assert "l.json" in unknown.reason


def test_a_detector_finds_faces_in_several_threads(shared, tmp_path):
    portrait = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"
    from concurrent.futures import ThreadPoolExecutor

    reader = FaceReader(detector=shared / "data/models/yunet_n_640_640.onnx")
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(reader.faces_of, [portrait] * 6))
    for (face,) in results:
        assert isinstance(face, FaceCrop)
        np.testing.assert_array_equal(face.crop, results[0][0].crop)
        assert face.box is not None
    (nothing,) = reader.faces_of(save(tmp_path / "grey.png", (300, 300), (128, 128, 128)))
    assert nothing.code == "no_face"


def test_names_no_system_accepts_become_records(tmp_path):
    long = "x" * 5000
    assert found("-", stdin=f"{long}\na.png") == [long, "a.png"]
    (face,) = FaceReader().faces_of(Path(long))
    assert face.code == "unreadable"


def test_names_that_are_not_utf8_can_be_written_to_a_record(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    stdin = io.TextIOWrapper(io.BytesIO(b"caf\xe9.png\n"), encoding="utf-8")
    assert list(expand(["-"], stdin)) == [Path(name)]
    try:
        save(tmp_path / name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    for path in (tmp_path / name, tmp_path / f"no{name}"):
        (face,) = FaceReader().faces_of(path)
        assert face.source.encode().endswith(b"\\udce9.png")


def test_one_file_spelt_twice_comes_once(tmp_path, monkeypatch):
    a = save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    assert found("a.png", "./a.png", a) == ["a.png"]


class TestCropsPass:
    """Aligned crops as they are, photographs to the detector."""

    def test_each_goes_its_way(self, shared, tmp_path):
        portrait = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"
        detector = shared / "data/models/yunet_n_640_640.onnx"
        reader = FaceReader(detector, crops_pass=True)
        (photo,) = reader.faces_of(portrait)
        assert photo.box is not None
        (crop,) = reader.faces_of(save(tmp_path / "crop.png"))
        assert (crop.box, crop.landmarks) == (None, None)
        (resized,) = reader.faces_of(save(tmp_path / "square.png", (224, 224)))
        assert resized.code == "no_face"
        (stated,) = FaceReader(detector).faces_of(tmp_path / "crop.png")
        assert stated.code == "no_face"

    def test_the_largest_alone(self, shared, tmp_path):
        portrait = Image.open(Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg")
        scene = Image.new("RGB", (900, 600), "grey")
        scene.paste(portrait.resize((256, 300)), (10, 10))
        scene.paste(portrait, (350, 0))
        scene.save(tmp_path / "two.png")
        detector = shared / "data/models/yunet_n_640_640.onnx"
        assert len(FaceReader(detector).faces_of(tmp_path / "two.png")) == 2
        (face,) = FaceReader(detector, largest=True).faces_of(tmp_path / "two.png")
        assert face.box[0] > 350

    def test_a_picture_above_the_limit(self, tmp_path):
        (face,) = FaceReader(max_pixels=10_000).faces_of(save(tmp_path / "a.png"))
        assert face.code == "unreadable"
        assert "above the limit of 0.01 megapixels" in face.reason


def test_landmarks_of_a_large_picture_are_in_its_own_pixels(tmp_path, monkeypatch):
    """A JPEG decoded at half size gives the same crop, and the record the points that were given."""
    monkeypatch.setattr("edge_fiqa.faces.images.WHOLE_PIXELS", 500_000)
    portrait = Image.open(Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg")
    portrait.resize((1024, 1200)).save(tmp_path / "a.jpg", quality=95)
    points = 2 * np.array(LANDMARKS) + 0.5
    faces = {str(tmp_path / "a.jpg"): [tuple(map(tuple, points))]}
    (face,) = FaceReader(landmarks=Landmarks(tmp_path / "l.json", faces)).faces_of(
        tmp_path / "a.jpg"
    )
    np.testing.assert_allclose(face.landmarks, points)
    expected = align(np.asarray(portrait), LANDMARKS)
    assert np.abs(face.crop.astype(int) - expected).mean() < 4
